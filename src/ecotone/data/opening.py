"""Opening a dataset of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ecotone.data.base import Dataset
from ecotone.data.catalog.benv2 import BigEarthNetV2, is_benv2
from ecotone.data.catalog.mmearth import GSD, MMEarth, is_mmearth
from ecotone.data.facts import Facts
from ecotone.data.hdf5 import HDF5_SUFFIXES, Hdf5Array
from ecotone.data.images import ImageFolder
from ecotone.data.shards import TarShards
from ecotone.errors import DataError
from ecotone.rasters import Declaration, read_declaration
from ecotone.rasters.declared import DATASET_FILE
from ecotone.rasters.gsd import check_gsd
from ecotone.sensors import sensor as find_sensor
from ecotone.sensors import unit as find_unit


def open_dataset(
    path: str | Path,
    *,
    split: str | None = None,
    sensor: str | None = None,
    bands: Sequence[str] | None = None,
    unit: str | None = None,
    gsd: float | None = None,
) -> Dataset:
    """Open a folder of images, of tar shards, with an HDF5 file, MMEarth or BigEarthNet v2; or one such file.

    A folder may hold ``manifest.csv`` (path, label, split) and ``dataset.yaml``; else class folders, split folders
    with class folders within, or just images. What is given here comes before what ``dataset.yaml`` declares.

    Args:
        path: Folder, tar shard or HDF5 file.
        split: Only this split; None for all samples.
        sensor: Sensor whose bands these are.
        bands: The bands wanted, in this order; where nothing names the channels, their names.
        unit: Unit of the stored values.
        gsd: Metres per pixel.

    Raises:
        DataError: The folder is missing or empty, or its labels, splits or bands cannot be used; a clear sentence each.
        SensorError: Unknown sensor or unit.
    """
    place = Path(path)
    check_gsd(gsd, "the arguments")
    if sensor:
        find_sensor(sensor)
    if unit:
        find_unit(unit)
    if not place.exists():
        raise DataError(f"there is no dataset {path}")
    folder = place if place.is_dir() else place.parent
    yaml = folder / DATASET_FILE
    declared = read_declaration(yaml) if yaml.is_file() else Declaration()
    if place.is_file() and place.suffix.lower() in HDF5_SUFFIXES:
        declared = declared.model_copy(update={"file": place.name})
    facts = Facts(declared, sensor, tuple(bands or ()), unit, gsd)
    return _open(place, folder, facts, split)


def _open(place: Path, folder: Path, facts: Facts, split: str | None) -> Dataset:
    declared = facts.declared
    if declared.format == "mmearth" or (not declared.format and not declared.dataset and is_mmearth(folder)):
        return _open_mmearth(folder, facts, split)
    if declared.format == "benv2" or (not declared.format and is_benv2(folder)):
        return BigEarthNetV2(folder, facts, split)
    shards = [place] if place.suffix == ".tar" else sorted(folder.glob("*.tar"))
    if declared.format == "webdataset" or place.suffix == ".tar" or (shards and not declared.format):
        if not shards:
            raise DataError(f"{folder} is declared to hold webdataset shards and holds no .tar file")
        return TarShards(shards, facts, split)
    if declared.format == "hdf5" or (declared.file or "").endswith(HDF5_SUFFIXES):
        if split is not None:
            raise DataError(f"{folder} has no split {split!r}", found="no splits", mend="Leave the split out.")
        return Hdf5Array(folder, facts)
    if declared.format not in (None, "images"):
        raise DataError(
            f"{folder} has an unknown format {declared.format!r}", expected="images, hdf5, webdataset, mmearth or benv2"
        )
    if place.is_file():
        raise DataError(f"{place} is not a dataset", expected="a folder, a tar shard or an HDF5 file")
    return ImageFolder(folder, facts, split)


def _open_mmearth(folder: Path, facts: Facts, split: str | None) -> MMEarth:
    for name, wanted, own in (
        ("sensor", facts.sensor, ("sentinel2-l2a", "sentinel2-l1c")),
        ("unit", facts.unit, ("reflectance x 10000",)),
        ("gsd", facts.gsd, (GSD,)),
    ):
        if wanted is not None and wanted not in own:
            raise DataError(
                f"{folder} is MMEarth, whose {name} is known",
                found=wanted,
                expected=" or ".join(map(str, own)),
                mend=f"Leave {name} out.",
            )
    return MMEarth(folder, split, bands=facts.bands or None)
