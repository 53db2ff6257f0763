"""Opening a raster: which files, which channels, what GSD."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecotone.errors import DataError
from ecotone.rasters.declared import Declaration, find_declaration
from ecotone.rasters.files import check_aligned, finest, has_mask, header_of, image_channels, list_files, open_files
from ecotone.rasters.gsd import GSD_TOLERANCE, check_gsd, grid_place
from ecotone.rasters.names import name_channels
from ecotone.rasters.raster import Raster
from ecotone.sensors import Unit, sensor, unit


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
    return _build(source, declared, sensor, tuple(bands or ()), unit, gsd or declared.gsd, level)


def _build(
    source: str | Path | Sequence[str | Path],
    declared: Declaration,
    sensor_name: str | None,
    bands: tuple[str, ...],
    unit_name: str | None,
    gsd: float | None,
    level: str | None,
) -> Raster:
    """Open the files once to learn what they are. Arguments as in ``open_raster``."""
    wanted = sensor_name or declared.sensor
    paths = list_files(source, sensor(wanted) if wanted else None)
    files = open_files(paths)
    try:
        grid = finest(files)
        check_aligned(files)
        dtype = str(np.result_type(*(t for f in files for t in f.dtypes)))
        own_nodata = next((f.nodata for f in files if f.nodata is not None), None)
        counts = [len(bands), len(declared.bands), len(sensor(wanted).bands) if wanted else 0]
        numbers = [image_channels(f, counts) for f in files]
        header = header_of(str(source), files, numbers, dtype, own_nodata)
        chosen = name_channels(
            header,
            declared,
            sensor_name=sensor_name,
            bands=bands,
            unit_name=unit_name,
            level=level,
            sensor_order=isinstance(source, (str, Path)) and len(paths) > 1,
        )
        channels = [(n, i) for n, found in enumerate(numbers) for i in found]
        masks = [n for n, f in enumerate(files) if has_mask(f, numbers[n])]
        shape, crs, transform = (grid.height, grid.width), grid.crs, grid.transform
    finally:
        for file in files:
            file.close()
    if np.dtype(dtype).kind == "c":
        raise DataError(f"{source} holds complex numbers", expected="real pixel values")
    if gsd and header.gsd and abs(gsd / header.gsd - 1) > GSD_TOLERANCE:
        text = f"{source} claims {header.gsd:g} m per pixel and {gsd:g} m is declared: the declared value is used"
        warnings.warn(text, GsdWarning, stacklevel=3)
    return Raster(
        paths=paths,
        shape=shape,
        crs=crs,
        transform=transform,
        bands=chosen.bands,
        unit=chosen.unit,
        sensor=chosen.sensor,
        level=chosen.level,
        gsd=gsd or header.gsd,
        gsd_source="declared" if gsd else "georeference" if header.gsd else "unknown",
        nodata=own_nodata if own_nodata is not None else sensor_nodata(chosen.sensor, chosen.unit),
        dtype=dtype,
        place=grid_place(crs, transform, shape),
        channels=tuple(channels[i] for i in chosen.indices),
        masks=tuple(masks),
    )


def sensor_nodata(name: str | None, values: Unit) -> float | None:
    """The no-data value of a sensor's products, where the values are stored as the products store them."""
    known = sensor(name) if name else None
    return known.nodata if known and unit(known.unit) == values else None
