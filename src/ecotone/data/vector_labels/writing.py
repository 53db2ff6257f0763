"""The files of a dataset made from vector labels."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

import ecotone
from ecotone.data.labels import SEPARATOR
from ecotone.data.listing import MANIFEST
from ecotone.data.masks import IGNORED
from ecotone.data.vector_labels.options import SPLITS, LabelOptions
from ecotone.data.vector_labels.plane import Plane, window_transform
from ecotone.data.vector_labels.shapes import Shapes
from ecotone.data.vector_labels.spots import Spot
from ecotone.errors import DataError
from ecotone.files import replacing
from ecotone.rasters import Raster, find_declaration, write_cog
from ecotone.rasters.declared import DATASET_FILE
from ecotone.rasters.raster import observed
from ecotone.samples import Image

MADE_BY = "made_with_labels"  # in dataset.yaml: how the samples came about


@dataclass(frozen=True)
class Written:
    """A sample on disk.

    Attributes:
        spot: Where it lies.
        files: The image, and the mask if there is one, relative to the folder.
        label: As the manifest has it.
        counts: (K,) what it holds of each class: observed pixels of a mask; one for each class of a chip.
        place: Longitude and latitude of its middle.
        values: Of the bands, at the pixel that the label is about.
    """

    spot: Spot
    files: tuple[str, ...]
    label: str
    counts: tuple[int, ...]
    place: tuple[float, float]
    values: tuple[float, ...]


def common_facts(rasters: Sequence[Raster]) -> Raster:
    """The first raster, if all of them have a place and are alike in bands, unit, sensor and level.

    Raises:
        DataError: One of them has no place, or differs.
    """
    if not rasters:
        raise DataError("there is no raster to be labelled")
    first = rasters[0]
    for raster in rasters:
        if raster.crs is None or raster.place is None:
            raise DataError(
                f"{raster.paths[0]} has no usable georeference, so no shape lies on it",
                expected="a CRS and a transform",
                mend="Set them with: gdal_edit.py -a_srs EPSG:CODE -a_ullr WEST NORTH EAST SOUTH FILE",
            )
        for what in ("bands", "unit", "sensor", "level", "dtype", "nodata"):
            own, other = getattr(raster, what), getattr(first, what)
            if own != other and own == own:  # NaN is no-data too
                raise DataError(
                    f"{raster.paths[0]} differs from {first.paths[0]} in its {what}", found=own, expected=other
                )
    return first


def write_sample(
    folder: Path, spot: Spot, plane: Plane, task: str, options: LabelOptions, *, several: bool
) -> Written | None:
    """Read one window, and write it with its label.

    Args:
        folder: Of the dataset.
        spot: Where the sample lies.
        plane: The labels of its raster.
        task: ``segmentation`` for a mask.
        options: How labels become samples.
        several: There are several rasters, so that their numbers are part of the names.

    Returns:
        None if too few of its pixels are observed, or the one that its label is about is not.
    """
    raster, window = plane.raster, spot.window
    image = raster.read(window)
    valid = np.ones(window[2:], bool) if image.valid is None else image.valid[0].numpy()
    at = None if spot.pixel is None else (spot.pixel[0] - window[0], spot.pixel[1] - window[1])
    if valid.mean() < options.min_valid or (at is not None and not valid[at]):
        return None
    stem = re.sub(r"[^\w-]+", "_", Path(raster.name).stem)
    name = f"{f'{spot.raster:04d}-' if several else ''}{stem}-{window[0]}-{window[1]}.tif"
    if spot.pixel:  # at the raster's edge, chips around two points may be one window
        name = name.replace(".tif", f"-{spot.pixel[0]}-{spot.pixel[1]}.tif")
    files, counts = [f"images/{name}"], spot.counts
    if task == "segmentation":
        files, counts = [f"images/{name}", f"masks/{name}"], _write_mask(folder / "masks" / name, plane, spot, valid)
        if not sum(counts):
            return None
    _write_image(folder / files[0], image, valid, raster, spot)
    label = files[1] if len(files) == 2 else SEPARATOR.join(_named(plane.shapes, spot, task))
    place = raster.place_at(window)
    values = () if at is None else tuple(image.pixels[0, :, at[0], at[1]].tolist())
    return Written(spot, tuple(files), label, counts, (place.lon, place.lat) if place else (0.0, 0.0), values)


def write_manifest(folder: Path, done: Sequence[Written], splits: NDArray[np.int64], bands: Sequence[str] = ()) -> None:
    """``manifest.csv`` with the place of each sample; bands, if given, are columns with the values of its pixel."""
    with replacing(folder / MANIFEST) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("path", "label", "split", "lon", "lat", *bands))
        for written, split in zip(done, splits.tolist(), strict=True):
            lon, lat = (f"{degrees:.7f}" for degrees in written.place)
            values = (f"{v:.9g}" for v in written.values) if bands else ()
            table.writerow((written.files[0], written.label, SPLITS[split], lon, lat, *values))


def write_declaration(
    folder: Path, name: str, task: str, shapes: Shapes, raster: Raster, split_kind: str, provenance: dict[str, Any]
) -> None:
    """``dataset.yaml`` with the facts of the rasters, which the files of the samples do not all hold themselves."""
    own = find_declaration(Path(raster.paths[0]))
    names = shapes.classes[int(shapes.background) :] if task == "multilabel" else shapes.classes
    content = {
        "name": name,
        "task": task,
        "format": "images",
        "sensor": _own_sensor(folder, raster.sensor),
        "bands": list(raster.bands),
        "unit": raster.unit.name,
        "gsd": raster.gsd if raster.gsd_source == "declared" else None,
        "level": raster.level,
        "classes": dict(enumerate(names)),
        "ignore": IGNORED if task == "segmentation" else None,
        "licence": own.licence,
        "split_kind": split_kind,
        "synthetic": own.synthetic or None,
        MADE_BY: {"ecotone": ecotone.__version__, **provenance},
    }
    with replacing(folder / DATASET_FILE) as temporary:
        known = {key: value for key, value in content.items() if value is not None}
        temporary.write_text(yaml.safe_dump(known, sort_keys=False, allow_unicode=True), "utf-8")


def _own_sensor(folder: Path, name: str | None) -> str | None:
    """The sensor as a dataset names it: a sensor file goes with the dataset."""
    if name is None or not name.endswith((".yaml", ".yml")):
        return name
    shutil.copyfile(name, folder / "sensor.yaml")
    return "sensor.yaml"


def _write_image(path: Path, image: Image, valid: NDArray[np.bool_], raster: Raster, spot: Spot) -> None:
    pixels, nodata = image.pixels[0].numpy(), raster.nodata
    if not valid.all():  # a mask of its own would not be written, so what it hides becomes no-data
        nodata = nodata if nodata is not None else float("nan") if pixels.dtype.kind == "f" else 0
        pixels = np.where(valid | ~observed(pixels, nodata, raster.unit), pixels, np.array(nodata, pixels.dtype))
    transform = window_transform(raster.transform, spot.window)
    write_cog(path, pixels, crs=raster.crs, transform=transform, nodata=nodata, descriptions=raster.bands)


def _write_mask(path: Path, plane: Plane, spot: Spot, valid: NDArray[np.bool_]) -> tuple[int, ...]:
    """Write the classes of a window, 255 where no pixel was observed; the pixels of each class."""
    codes = np.where(valid, plane.burn(spot.window), IGNORED).astype(np.uint8)
    found = np.bincount(codes[codes != IGNORED], minlength=len(plane.shapes.classes))
    if found.sum():
        transform = window_transform(plane.raster.transform, spot.window)
        write_cog(path, codes[None], crs=plane.raster.crs, transform=transform, nodata=IGNORED, descriptions=("class",))
    return tuple(found.tolist())


def _named(shapes: Shapes, spot: Spot, task: str) -> list[str]:
    first = int(shapes.background and task == "multilabel")
    return [shapes.classes[i] for i in spot.codes if i >= first]
