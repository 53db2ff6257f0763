"""Opening a raster: which files, which channels, what GSD."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecotone.errors import DataError
from ecotone.rasters.declared import Declaration, find_declaration
from ecotone.rasters.files import check_aligned, finest, open_files
from ecotone.rasters.folders import list_files
from ecotone.rasters.gsd import GSD_TOLERANCE, check_gsd, grid_place
from ecotone.rasters.headers import has_mask, header_of, image_channels
from ecotone.rasters.names import name_channels
from ecotone.rasters.raster import Raster
from ecotone.sensors import Unit
from ecotone.sensors import sensor as find_sensor

if TYPE_CHECKING:
    from rasterio.io import DatasetReader


class GsdWarning(UserWarning):
    """A declared GSD contradicts the georeference."""


def open_raster(
    source: str | Path | Sequence[str | Path],
    *,
    sensor: str | None = None,
    bands: Sequence[str] | None = None,
    unit: str | None = None,
    gsd: float | None = None,
    level: str | None = None,
    declared: Declaration | None = None,
) -> Raster:
    """Open anything GDAL reads: a file, a folder of per-band files, or a list of files that form one stack.

    What is not given is taken from the nearest ``dataset.yaml`` (in the folder or up to two above), then from the file.

    Args:
        source: Path, folder or list of paths.
        sensor: Sensor whose bands these are.
        bands: The bands wanted, in this order; where the file names none, the names of its channels.
        unit: Unit of the stored values.
        gsd: Metres per pixel, where the georeference is missing or wrong.
        level: Processing level.
        declared: Stands in for the ``dataset.yaml``.

    Raises:
        DataError: The source cannot be read, or its channels do not fit what is declared; a clear sentence each.
        SensorError: Unknown sensor or unit.
    """
    check_gsd(gsd, "the arguments")
    first = Path(str(source if isinstance(source, (str, Path)) else next(iter(source), "")))
    declared = declared or find_declaration(first)
    choice = Choice(declared, sensor, tuple(bands or ()), unit, gsd or declared.gsd, level)
    paths = list_files(source, find_sensor(choice.wanted) if choice.wanted else None)
    files = open_files(paths)
    with ExitStack() as closing:
        for file in files:
            closing.callback(file.close)
        check_aligned(files)
        is_folder = isinstance(source, (str, Path)) and len(paths) > 1
        raster, own_gsd = _describe(str(source), files, choice, is_folder)
        closing.pop_all()
    if raster.gsd and own_gsd and abs(raster.gsd / own_gsd - 1) > GSD_TOLERANCE:
        claim = f"{source} claims {own_gsd:g} m per pixel and {raster.gsd:g} m is declared"
        warnings.warn(f"{claim}: the declared value is used", GsdWarning, stacklevel=2)
    raster.adopt(files)
    return raster


@dataclass(frozen=True)
class Choice:
    """What is said about a raster. Attributes as the arguments of ``open_raster``."""

    declared: Declaration
    sensor: str | None
    bands: tuple[str, ...]
    unit: str | None
    gsd: float | None
    level: str | None

    @property
    def wanted(self) -> str | None:
        return self.sensor or self.declared.sensor

    @property
    def counts(self) -> list[int]:
        """How many bands a file may be declared to have."""
        return [len(self.bands), len(self.declared.bands), len(find_sensor(self.wanted).bands) if self.wanted else 0]


def _describe(source: str, files: list[DatasetReader], choice: Choice, is_folder: bool) -> tuple[Raster, float | None]:
    """The raster that open files make, and the GSD of their georeference."""
    dtype = str(np.result_type(*(t for f in files for t in f.dtypes)))
    if np.dtype(dtype).kind == "c":
        raise DataError(f"{source} holds complex numbers", expected="real pixel values")
    nodata = next((f.nodata for f in files if f.nodata is not None), None)
    numbers = [image_channels(f, choice.counts) for f in files]
    header = header_of(source, files, numbers, dtype, nodata)
    chosen = name_channels(
        header,
        choice.declared,
        sensor_name=choice.sensor,
        bands=choice.bands,
        unit_name=choice.unit,
        level=choice.level,
        sensor_order=is_folder,
    )
    channels = [(n, i) for n, found in enumerate(numbers) for i in found]
    grid = finest(files)
    raster = Raster(
        paths=tuple(f.name for f in files),
        shape=grid.shape,
        crs=grid.crs,
        transform=grid.transform,
        bands=chosen.bands,
        unit=chosen.unit,
        sensor=chosen.sensor,
        level=chosen.level,
        gsd=choice.gsd or header.gsd,
        gsd_source="declared" if choice.gsd else "georeference" if header.gsd else "unknown",
        nodata=nodata if nodata is not None else sensor_nodata(chosen.sensor, chosen.unit),
        dtype=dtype,
        place=grid_place(grid.crs, grid.transform, grid.shape),
        channels=tuple(channels[i] for i in chosen.indices),
        masks=tuple(n for n, f in enumerate(files) if has_mask(f, numbers[n])),
    )
    return raster, header.gsd


def sensor_nodata(name: str | None, values: Unit) -> float | None:
    """The no-data value of a sensor's products, where the values are stored as the products store them."""
    known = find_sensor(name) if name else None
    return known.nodata if known and known.physical_unit == values else None
