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
from ecotone.rasters.gsd import GSD_TOLERANCE, check_gsd, grid_place, pixel_gsd
from ecotone.rasters.headers import has_mask, header_of, image_channels
from ecotone.rasters.names import name_channels
from ecotone.rasters.quality import find_screen, parse_conditions
from ecotone.rasters.raster import Raster
from ecotone.rasters.remote import gdal_path
from ecotone.rasters.resampling import at_gsd as resampled
from ecotone.rasters.sentinel2 import Product, find_product, product_around
from ecotone.rasters.sentinel2_remote import find_remote_product, remote_product_around
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
    mask: str | None = None,
    at_gsd: float | None = None,
    declared: Declaration | None = None,
    layers: Sequence[str] = (),
) -> Raster:
    """Open anything GDAL reads: a file, a folder of per-band files, a Sentinel-2 product, or files that form one stack.

    What is not given is taken from the metadata of a Sentinel-2 product (a ``.SAFE`` folder, a zip of one, a URL of
    either, or a file in one), then from the nearest ``dataset.yaml`` (in the folder or up to two above), then from the
    file.

    Args:
        source: Path, folder or list of paths.
        sensor: Sensor whose bands these are.
        bands: The bands wanted, in this order; where the file names none, the names of its channels.
        unit: Unit of the stored values.
        gsd: Metres per pixel, where the georeference is missing or wrong.
        level: Processing level.
        mask: ``clouds``, ``snow`` or ``clouds,snow``: pixels that the scene's quality layer (SCL, QA60, QA_PIXEL …)
            marks as such are not valid.
        at_gsd: Resample to these metres per pixel, as the function ``at_gsd`` does.
        declared: Stands in for the ``dataset.yaml``.
        layers: Further files among which a quality layer may be.

    Raises:
        DataError: The source cannot be read, or its channels do not fit what is declared; a clear sentence each.
        RecipeError: Unknown ``mask``.
        SensorError: Unknown sensor or unit.
    """
    check_gsd(gsd, "the arguments")
    conditions = parse_conditions(mask) if mask else ()
    one = str(source) if isinstance(source, (str, Path)) else None
    first = str(source if isinstance(source, (str, Path)) else next(iter(source), ""))
    product = find_product(one) or find_remote_product(one) if one else None
    around = product or product_around(first) or remote_product_around(first)
    declared = declared or find_declaration(first)
    if around:
        facts = {"sensor": around.sensor, "level": around.level, "unit": around.unit, "bands": (), "gsd": None}
        declared = declared.model_copy(update=facts)
    choice = Choice(declared, sensor, tuple(bands or ()), unit, gsd or declared.gsd, level)
    paths = product.paths if product else list_files(source, find_sensor(choice.wanted) if choice.wanted else None)
    with ExitStack() as closing:
        files = [closing.enter_context(file) for file in open_files(paths)]
        check_aligned(files)
        raster, own_gsd, used = _describe(str(source), files, choice, around, bool(one) and len(paths) > 1)
        for file in files:
            if file not in used:
                file.close()
        if conditions:
            further = [gdal_path(layer) for layer in (*layers, *(around.layers if around else ()))]
            raster.screen = find_screen(str(source), files, further, raster.sensor, conditions)
            used.append(closing.enter_context(*open_files([raster.screen.path])))
            check_aligned(used)
        raster.adopt(used)
        closing.pop_all()
    if raster.gsd and own_gsd and abs(raster.gsd / own_gsd - 1) > GSD_TOLERANCE:
        claim = f"{source} claims {own_gsd:g} m per pixel and {raster.gsd:g} m is declared"
        warnings.warn(f"{claim}: the declared value is used", GsdWarning, stacklevel=2)
    return raster if at_gsd is None else resampled(raster, at_gsd)


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


def _describe(
    source: str, files: list[DatasetReader], choice: Choice, product: Product | None, is_folder: bool
) -> tuple[Raster, float | None, list[DatasetReader]]:
    """The raster that open files make, the GSD of its georeference, and the files that hold its bands."""
    numbers = [image_channels(f, choice.counts) for f in files]
    dtype, nodata = _values(source, files)
    chosen = name_channels(
        header_of(source, files, numbers, dtype, nodata),
        choice.declared,
        sensor_name=choice.sensor,
        bands=choice.bands,
        unit_name=choice.unit,
        level=choice.level,
        sensor_order=is_folder,
    )
    channels = [(n, i) for n, found in enumerate(numbers) for i in found]
    channels = [channels[i] for i in chosen.indices]
    kept = sorted({n for n, _ in channels})
    used = [files[n] for n in kept]
    dtype, nodata = _values(source, used)
    if nodata is None:
        nodata = product.nodata if product else sensor_nodata(chosen.sensor, chosen.unit)
    grid = finest(used)
    own_gsd = pixel_gsd(grid.crs, grid.transform, grid.shape)
    raster = Raster(
        paths=tuple(f.name for f in used),
        shape=grid.shape,
        crs=grid.crs,
        transform=grid.transform,
        bands=chosen.bands,
        unit=chosen.unit,
        sensor=chosen.sensor,
        level=chosen.level,
        gsd=choice.gsd or own_gsd,
        gsd_source="declared" if choice.gsd else "georeference" if own_gsd else "unknown",
        nodata=nodata,
        dtype=dtype,
        place=grid_place(grid.crs, grid.transform, grid.shape),
        channels=tuple((kept.index(n), i) for n, i in channels),
        masks=tuple(i for i, n in enumerate(kept) if has_mask(files[n], numbers[n])),
        name=product.name if product else _name([f.name for f in files]),
        time=product.time if product else None,
        origin=product.facts if product else {},
    )
    return raster, own_gsd, used


def _values(source: str, files: list[DatasetReader]) -> tuple[str, float | None]:
    """The type that holds the values of all files, and their no-data value."""
    dtype = np.result_type(*(t for f in files for t in f.dtypes))
    if dtype.kind == "c":
        raise DataError(f"{source} holds complex numbers", expected="real pixel values")
    return str(dtype), next((f.nodata for f in files if f.nodata is not None), None)


def _name(paths: Sequence[str]) -> str:
    """The name of a file, or of the folder of several."""
    return Path(paths[0]).name if len(paths) == 1 else Path(paths[0]).parent.name


def sensor_nodata(name: str | None, values: Unit) -> float | None:
    """The no-data value of a sensor's products, where the values are stored as the products store them."""
    known = find_sensor(name) if name else None
    return known.nodata if known and known.physical_unit == values else None
