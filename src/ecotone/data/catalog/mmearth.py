"""MMEarth (Nedungadi et al., ECCV 2024): twelve aligned modalities of 1.2 million places, in one HDF5 file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from ecotone.data.base import DatasetInfo
from ecotone.data.catalog.mmearth_layout import CIRRUS, LAYERS, SENTINEL2, Layer
from ecotone.data.catalog.mmearth_tables import Statistics, Tile, TileTable, read_splits
from ecotone.data.catalog.mmearth_values import image_values, target_value
from ecotone.data.hdf5 import ProcessFile
from ecotone.data.listing import SPLITS
from ecotone.errors import DataError, nearest
from ecotone.inputs import ZScoreByLevel
from ecotone.modalities import Modality
from ecotone.randomness import stream_seeds
from ecotone.rasters import Declaration, read_declaration
from ecotone.rasters.declared import DATASET_FILE
from ecotone.samples import Image, Place, Sample
from ecotone.sensors import unit

Mode = Literal["fixed", "as-released"]
GSD = 10.0  # everything is on the 10 m grid of Sentinel-2
_TAILS = (".h5", "_tile_info.json", "_splits.json", "_band_stats.json")


class MMEarth:
    """MMEarth v001 of any size (``data_1M_v001``, ``data_1M_v001_64``, ``data_100k_v001``), read tile by tile.

    A sample holds the images ``optical`` (Sentinel-2), ``sentinel1``, ``aster``, ``dynamic_world``,
    ``canopy_height_eth`` and ``esa_worldcover``, and the targets ``era5``, ``lat``, ``lon``, ``month``, ``biome`` and
    ``eco_region``. Measured values are raw, NaN where missing; classes are indices from 0, -1 where missing.

    Args:
        folder: Holds one ``data_*.h5`` and its ``_tile_info.json``, ``_splits.json`` and ``_band_stats.json``.
        split: Only these rows, in the order of the splits file; None for all rows in the order of the HDF5 file.
        mode: ``fixed``, or ``as-released``: tree cover of WorldCover is missing, canopy heights that are no data are
            127 m, and any zero of Sentinel-2 is no data, as in the official loader of January 2026.
        modalities: Which to read; None for all that the file has. Others cost nothing.
        bands: Bands of Sentinel-2, in this order; None for all but B10, in the order of the file (B8A before B8).
        holdout: Share of the places, as squares of one degree, whose training tiles are the ``val`` split instead.
            The released splits have no validation tiles.

    Raises:
        DataError: A file is missing, or does not fit the others; the split is empty; a name is unknown.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str | None = None,
        mode: Mode = "fixed",
        modalities: Sequence[str] | None = None,
        bands: Sequence[str] | None = None,
        holdout: float = 0.0,
    ) -> None:
        folder = Path(folder)
        self._mode: Mode = mode
        files = find_files(folder)
        self._file = ProcessFile(files[".h5"])
        self._statistics = files["_band_stats.json"]
        shapes = _shapes(files[".h5"])
        self._rows_in_file = shapes["metadata"][0]
        self._layers = _choose(modalities, shapes, files[".h5"])
        self._bands = _sentinel2_bands(bands)
        self._tiles = TileTable(files["_tile_info.json"])
        if CIRRUS in self._bands and self._tiles.levels != {"L1C"}:
            raise DataError(f"L2A tiles of {folder} have no band {CIRRUS}", mend=f"Leave {CIRRUS} out.")
        splits = read_splits(files["_splits.json"], self._rows_in_file)
        if holdout:
            splits = self._held_out(splits, holdout)
        self._rows, self._splits = _rows(splits, split, self._rows_in_file, files["_splits.json"])
        yaml = folder / DATASET_FILE
        self.info = self._describe(files[".h5"].stem, read_declaration(yaml) if yaml.is_file() else Declaration())

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self._rows):
            raise IndexError(index)
        row = int(self._rows[index])
        try:
            tile = self._tiles.tile(self._tile_id(row))
            stored = {name: np.asarray(self._file.opened()[name][row]) for name in self._layers}
        except OSError as error:
            raise DataError(f"cannot read row {row} of {self._file.path}", found=error) from error
        images: dict[str, Image] = {}
        targets: dict[str, Any] = {}
        for name, layer in self._layers.items():
            if layer.scope == "pixel":
                images[layer.role] = self._image(layer, stored[name], tile)
            else:
                targets[layer.role] = target_value(layer, stored[name], tile)
        return Sample(images, tile.key, targets, Place(lon=tile.lon, lat=tile.lat, crs=tile.crs))

    def only(self, modalities: Sequence[str]) -> MMEarth:
        """The same dataset, reading no other modalities than these.

        Raises:
            DataError: A name is unknown, or the file does not have it.
        """
        other = copy(self)
        other._layers = _choose(modalities, self._layers, self._file.path)
        return other

    @property
    def modalities(self) -> Mapping[str, Modality]:
        """What is read, by name, in the official order of the losses, with the statistics of ``_band_stats.json``.

        Raises:
            DataError: A statistic is missing.
        """
        statistics = Statistics(self._statistics)
        return {name: self._modality(layer, statistics) for name, layer in self._layers.items()}

    def keys(self) -> Sequence[str]:
        """Tile ids. In a file of a million tiles this takes about a minute."""
        return [self._tile_id(int(row)).decode() for row in self._rows]

    def splits(self) -> Sequence[str]:
        return self._splits

    def labels(self) -> Sequence[str]:
        return [""] * len(self._rows)

    def _tile_id(self, row: int) -> bytes:
        return bytes(self._file.opened()["metadata"][row][0])

    def _image(self, layer: Layer, stored: NDArray[Any], tile: Tile) -> Image:
        optical = layer.name == "sentinel2"
        bands = self._bands if optical else layer.channels if layer.kind == "continuous" else _label(layer)
        values, valid = image_values(layer, stored, tile, bands, self._mode)
        return Image(
            pixels=torch.from_numpy(values).unsqueeze(0),
            bands=bands,
            unit=unit(layer.unit or ""),
            gsd=GSD,
            sensor=f"sentinel2-{tile.level.lower()}" if optical else layer.sensor,
            valid=None if valid is None or valid.all() else torch.from_numpy(valid).unsqueeze(0),
            times=(tile.time,) if optical else (),
            level=tile.level if optical else None,
        )

    def _modality(self, layer: Layer, statistics: Statistics) -> Modality:
        channels = self._bands if layer.name == "sentinel2" else layer.channels
        normaliser = None
        if layer.name == "sentinel2":
            places = [SENTINEL2.index(b) for b in channels]
            levels = sorted(self._tiles.levels)
            each = {v: statistics.z_score(f"sentinel2_{v.lower()}", channels, places, layer.stored) for v in levels}
            normaliser = ZScoreByLevel(levels=each)
        elif layer.kind == "continuous":
            places, radar = [*range(layer.stored)], layer.name == "sentinel1"
            normaliser = statistics.z_score(layer.name, channels, places, layer.stored, unseen=radar)
        return Modality(
            name=layer.name,
            role=layer.role,
            scope=layer.scope,
            kind=layer.kind,
            channels=channels,
            unit=layer.unit,
            normaliser=normaliser,
        )

    def _held_out(self, splits: dict[str, NDArray[np.int64]], share: float) -> dict[str, NDArray[np.int64]]:
        """Move whole squares of one degree from train to val; which ones depends on their place alone."""
        if not 0 < share < 1:
            raise DataError("holdout is a share of the places", found=share, expected="above 0 and below 1")
        if len(splits.get("val", ())):
            raise DataError("the splits file has validation tiles of its own", mend="Leave holdout out.")
        file = self._file.opened()
        lat, lon = (np.degrees(np.arctan2(*np.asarray(file[name][:], np.float64).T)) for name in ("lat", "lon"))
        square = torch.from_numpy((np.floor(lat) + 90) * 360 + np.floor(lon) + 180).long()
        luck = stream_seeds(0, 0, square).numpy() % 10_000
        train = splits["train"]
        held = luck[train] < share * 10_000
        return {**splits, "train": train[~held], "val": train[held]}

    def _describe(self, stem: str, declared: Declaration) -> DatasetInfo:
        optical = "sentinel2" in self._layers
        first = next(iter(self._layers.values()))
        return DatasetInfo(
            name=declared.name or stem,
            sensor="sentinel2-l1c" if CIRRUS in self._bands else first.sensor,
            bands=self._bands if optical else first.channels if first.kind == "continuous" else _label(first),
            unit=first.unit,
            gsd=GSD,
            gsd_source="declared",
            licence=declared.licence or "CC BY 4.0",
            split_kind=declared.split_kind,
            synthetic=declared.synthetic,
        )


def is_mmearth(folder: Path) -> bool:
    """Whether a folder looks like MMEarth: an HDF5 file ``data_*.h5`` with a ``_tile_info.json``."""
    return any(folder.glob("data_*_tile_info.json")) and any(folder.glob("data_*.h5"))


def find_files(folder: Path) -> dict[str, Path]:
    """The four files by the end of their names, found as the official loader finds them.

    Raises:
        DataError: There is not exactly one of each.
    """
    found = {tail: sorted(folder.glob(f"data_*{tail}")) for tail in _TAILS}
    for tail, files in found.items():
        if len(files) != 1:
            raise DataError(
                f"{folder} is no MMEarth folder: it must hold exactly one file data_*{tail}",
                found=", ".join(f.name for f in files) or "none",
                expected=", ".join(f"data_*{t}" for t in _TAILS),
            )
    return {tail: files[0] for tail, files in found.items()}


def _label(layer: Layer) -> tuple[str, ...]:
    return ("Map",) if layer.name == "esa_worldcover" else ("label",)


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every array, after a check that they are those of the official layout."""
    try:
        with h5py.File(path) as file:
            arrays = {str(k): v for k, v in file.items() if isinstance(v, h5py.Dataset)}
            shapes = {k: tuple(v.shape) for k, v in arrays.items() if k != "metadata" or v.dtype.names}
    except OSError as error:
        raise DataError(
            f"cannot read {path}", found=error, mend="Was it downloaded in full? Compare its size with the source's."
        ) from error
    if "metadata" not in shapes or not shapes["metadata"][0]:
        raise DataError(f"{path} has no array metadata with tile ids", found=", ".join(arrays) or "no arrays")
    count = shapes["metadata"][0]
    for name in LAYERS.keys() & shapes.keys():
        expected = (count, LAYERS[name].stored, *shapes[name][2:])
        dimensions = 4 if LAYERS[name].scope == "pixel" else 2
        if shapes[name] != expected or len(shapes[name]) != dimensions:
            raise DataError(f"the array {name} of {path} has another shape", found=shapes[name], expected=expected)
    return shapes


def _choose(wanted: Sequence[str] | None, have: Mapping[str, Any], path: Path) -> dict[str, Layer]:
    """The layers to read, in the official order."""
    for name in wanted or ():
        if name not in LAYERS:
            raise DataError(f"MMEarth has no modality {name!r}", mend=nearest(name, LAYERS))
        if name not in have:
            raise DataError(f"{path} has no array {name}", found=", ".join(n for n in LAYERS if n in have))
    chosen = {n: layer for n, layer in LAYERS.items() if n in have and (wanted is None or n in wanted)}
    if not chosen:
        raise DataError(f"no modality of {path} is to be read", expected=", ".join(LAYERS))
    return chosen


def _sentinel2_bands(wanted: Sequence[str] | None) -> tuple[str, ...]:
    bands = tuple(wanted or (b for b in SENTINEL2 if b != CIRRUS))
    for band in bands:
        if band not in SENTINEL2:
            raise DataError(f"MMEarth has no band {band!r}", mend=nearest(band, SENTINEL2))
    return bands


def _rows(
    splits: dict[str, NDArray[np.int64]], split: str | None, count: int, path: Path
) -> tuple[NDArray[np.int64], list[str]]:
    """The rows to read and the split of each."""
    if split is None:
        names = np.full(count, "", dtype=object)
        for name, rows in splits.items():
            names[rows] = name
        return np.arange(count), names.tolist()
    wanted = SPLITS.get(split.lower(), split)
    rows = splits.get(wanted, np.empty(0, np.int64))
    if not len(rows):
        raise DataError(
            f"{path} has no tiles in split {split!r}",
            found=", ".join(f"{len(r)} in {name}" for name, r in splits.items()),
            mend="The released files have training tiles only; holdout=0.02 sets some places aside as val.",
        )
    return rows, [wanted] * len(rows)
