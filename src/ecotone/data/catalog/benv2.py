"""BigEarthNet v2 in the layout of GEO-Bench 2: one folder for each patch, Sentinel-2 beside Sentinel-1.

A folder holds files of single bands (``B02.tif`` … ``VV.tif``), or two stacks without band names, ``s2.tif`` and
``s1.tif``. What the stacks do not say, or say wrongly, was found by comparison with the single bands: the order of
their bands, the grid of 10 m where ``s2.tif`` claims 60 m, and decibels that were cut to whole numbers and stored as
unsigned 16-bit integers, so that -17 dB is 65519.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ecotone.data.base import DatasetInfo
from ecotone.data.facts import Facts
from ecotone.data.labels import Labels, read_labels
from ecotone.data.listing import MANIFEST, Row, choose_split, list_rows, read_manifest
from ecotone.errors import DataError
from ecotone.rasters import GsdWarning, open_raster
from ecotone.samples import Image, Place, Sample

OPTICAL, RADAR = "sentinel2-l2a", "sentinel1-grd"
S2_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
S1_BANDS = ("VH", "VV")  # VH, the weaker echo, comes first
META, GSD = "meta.json", 10.0


@dataclass(frozen=True)
class Role:
    """One sensor of a patch: the file of its stack, the bands in it, and the bands wanted."""

    sensor: str
    stack: str
    stacked: tuple[str, ...]
    bands: tuple[str, ...]


ROLES = {"optical": Role(OPTICAL, "s2.tif", S2_BANDS, S2_BANDS), "sentinel1": Role(RADAR, "s1.tif", S1_BANDS, S1_BANDS)}
# The nomenclature of 19 classes (Sumbul et al., arXiv 2105.07921).
CLASSES = (
    "Urban fabric",
    "Industrial or commercial units",
    "Arable land",
    "Permanent crops",
    "Pastures",
    "Complex cultivation patterns",
    "Land principally occupied by agriculture, with significant areas of natural vegetation",
    "Agro-forestry areas",
    "Broad-leaved forest",
    "Coniferous forest",
    "Mixed forest",
    "Natural grassland and sparsely vegetated areas",
    "Moors, heathland and sclerophyllous vegetation",
    "Transitional woodland, shrub",
    "Beaches, dunes, sands",
    "Inland wetlands",
    "Coastal wetlands",
    "Inland waters",
    "Marine waters",
)


def is_benv2(folder: Path) -> bool:
    """Whether the manifest's first row is a patch of BigEarthNet v2: files of both sensors and ``meta.json``."""
    manifest = folder / MANIFEST
    rows = read_manifest(manifest) if manifest.is_file() else []
    if not rows or not (folder / rows[0].path / META).is_file():
        return False
    names = {file.name for file in (folder / rows[0].path).iterdir()}
    return names >= {"s2.tif", "s1.tif"} or names >= {"B02.tif", "VV.tif"}


class BigEarthNetV2:
    """Patches of 120 x 120 pixels at 10 m: ``optical``, 12 bands x 10000, and ``sentinel1``, VH and VV in dB.

    Args:
        folder: Holds ``manifest.csv`` (path, label, split) and the patches' folders.
        facts: What is declared. A sensor chooses one of the two roles; bands choose among those of that role, or of
            ``optical``.
        split: Only this split.

    Raises:
        DataError: The manifest cannot be used, or the sensor is none of the two.
    """

    def __init__(self, folder: Path, facts: Facts, split: str | None = None) -> None:
        self._folder, declared = folder, facts.declared
        roles = {name: r for name, r in ROLES.items() if facts.sensor in (None, r.sensor)}
        if not roles:
            raise DataError(
                f"{folder} is BigEarthNet v2, whose sensors are known",
                found=facts.sensor,
                expected=" or ".join(r.sensor for r in ROLES.values()),
            )
        first = next(iter(roles))
        odd = [band for band in facts.bands if band not in roles[first].bands]
        if odd:
            raise DataError(f"{folder} has no {first} band {odd[0]}", found=odd, expected=", ".join(roles[first].bands))
        self._roles = {**roles, first: replace(roles[first], bands=facts.bands or roles[first].bands)}
        rows = list_rows(folder)
        known = {"task": declared.task or "multilabel", "classes": declared.classes or CLASSES}
        self._labels: Labels = read_labels(rows, declared.model_copy(update=known), folder)
        self._rows: list[Row] = choose_split(rows, split, folder)
        self.info = DatasetInfo(
            name=declared.name or folder.name,
            task=self._labels.task,
            sensor=self._roles[first].sensor,
            bands=self._roles[first].bands,
            gsd=GSD,
            gsd_source="declared",
            classes=self._labels.classes,
            licence="CDLA-Permissive-1.0",
            split_kind=declared.split_kind or "official",
        )

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        row = self._rows[index]
        folder = self._folder / row.path
        images = {name: self._read(folder, role) for name, role in self._roles.items()}
        return Sample(images, row.path, self._labels.targets(row.label), _place(folder / META))

    def keys(self) -> Sequence[str]:
        return [row.path for row in self._rows]

    def splits(self) -> Sequence[str]:
        return [row.split for row in self._rows]

    def labels(self) -> Sequence[str]:
        return [row.label for row in self._rows]

    def _read(self, folder: Path, role: Role) -> Image:
        stack = folder / role.stack
        if not folder.is_dir():
            raise DataError(f"there is no patch {folder}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GsdWarning)  # the stack's 60 m are known to be wrong
            if not stack.is_file():
                with open_raster(folder, sensor=role.sensor, bands=role.bands, gsd=GSD) as raster:
                    return replace(raster.read(), gsd=GSD, effective_gsd=GSD)
            with open_raster(stack, sensor=role.sensor, bands=role.stacked, gsd=GSD) as raster:
                image = raster.read()
        pixels = image.pixels[:, [role.stacked.index(b) for b in role.bands]]
        if role.sensor == RADAR:
            pixels = (pixels.view(torch.int16) if pixels.dtype == torch.uint16 else pixels).float()
        return replace(image, pixels=pixels, bands=role.bands, gsd=GSD, effective_gsd=GSD)


def _place(path: Path) -> Place | None:
    """The patch's centre, as its ``meta.json`` gives it."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise DataError(f"cannot read {path}", found=error) from error
    return Place(float(found["lon"]), float(found["lat"])) if {"lon", "lat"} <= found.keys() else None
