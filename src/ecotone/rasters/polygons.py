"""Polygons of a map of classes: outlines of connected pixels, without specks, simplified along their common borders."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import shapes, sieve
from rasterio.io import DatasetReader
from rasterio.windows import Window

from ecotone.errors import DataError, RecipeError, nearest
from ecotone.files import replacing, write_errors
from ecotone.rasters.files import open_file, readable
from ecotone.rasters.gsd import pixel_gsd

KINDS = {"gpkg": ".gpkg", "parquet": ".parquet"}
AT_ONCE = 64_000_000  # pixels that are cleared of specks together


def check_kind(kind: str) -> str:
    """A kind of file for polygons.

    Raises:
        RecipeError: There is no such kind.
    """
    if kind not in KINDS:
        raise RecipeError(
            f"polygons are not written as {kind!r}", expected=" or ".join(KINDS), mend=nearest(kind, KINDS)
        )
    return kind


def write_polygons(
    source: str | Path,
    out: str | Path,
    classes: Sequence[str],
    *,
    min_area: float = 0.0,
    simplify: float = 0.0,
) -> int:
    """Write the connected areas of a map of classes as polygons, with the columns ``value``, ``class`` and ``area_m2``.

    Areas below the minimum mapping unit are given to their largest neighbour. Outlines are simplified as a coverage
    (Visvalingam-Whyatt), so that neighbours still meet without gaps.

    Args:
        source: One band of class numbers, with a no-data value.
        out: A ``.gpkg`` or ``.parquet`` file (GeoParquet 1.1).
        classes: Names by class number.
        min_area: The minimum mapping unit in square metres.
        simplify: Tolerance of the simplification in metres; 0 keeps the corners of the pixels.

    Returns:
        How many polygons.

    Raises:
        DataError: The map cannot be read, has no GSD although areas or metres are asked for, or the output cannot be
            written.
        RecipeError: The output has another suffix.
    """
    out = Path(out)
    kind = check_kind(out.suffix.removeprefix("."))
    with readable(str(source)), open_file(source) as file, tempfile.TemporaryDirectory() as folder:
        metres = _metres_per_unit(file) if file.crs else None
        if metres is None and (min_area or simplify):
            raise DataError(f"{source} has no georeference, so areas in metres mean nothing", mend="Leave them out.")
        pixel = abs(file.transform.determinant) * (metres or 1.0) ** 2
        cleared = _without_specks(file, math.ceil(min_area / pixel), Path(folder) / "cleared.tif")
        with rasterio.open(cleared) if cleared else file as clean:
            values, outlines = _outlines(clean)
        if simplify and metres:
            outlines = shapely.coverage_simplify(outlines, simplify / metres)
        columns = {"value": values, "class": [classes[v] for v in values]}
        columns["area_m2"] = shapely.area(outlines) * (metres or math.nan) ** 2
        frame = geopandas.GeoDataFrame(columns, geometry=outlines, crs=file.crs)
    with replacing(out) as temporary, write_errors(out):
        if kind == "parquet":
            frame.to_parquet(temporary, schema_version="1.1.0", write_covering_bbox=True)
        else:
            named = temporary.with_suffix(".gpkg")  # the driver complains about any other
            frame.to_file(named, driver="GPKG", layer=out.stem)
            named.replace(temporary)
    return len(frame)


def _metres_per_unit(file: DatasetReader) -> float | None:
    gsd = pixel_gsd(file.crs, file.transform, file.shape)
    return gsd / math.sqrt(abs(file.transform.determinant)) if gsd else None


def _outlines(file: DatasetReader) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Class numbers and polygons of the connected areas, without no-data."""
    found = (
        (shape, int(v)) for shape, v in shapes(rasterio.band(file, 1), transform=file.transform) if v != file.nodata
    )
    pairs = [(shapely.geometry.shape(shape), value) for shape, value in found]
    outlines = np.array([shape for shape, _ in pairs], object)
    return np.array([value for _, value in pairs], np.int64), outlines


def _without_specks(file: DatasetReader, size: int, path: Path) -> Path | None:
    """The map with connected areas of fewer than ``size`` pixels given to their largest neighbour."""
    if size < 2:
        return None
    profile = {**file.profile, "driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512}
    with rasterio.open(path, "w", **profile) as out:
        for top, bottom in _strips(file.height, file.width):
            # An area of fewer than `size` pixels spans fewer rows: with so many more it is seen whole.
            above, below = max(0, top - size), min(file.height, bottom + size)
            values = file.read(1, window=Window(0, above, file.width, below - above))  # pyright: ignore[reportCallIssue]
            cleared = sieve(values, size, mask=values != file.nodata)
            kept = cleared[top - above : bottom - above]
            out.write(kept, 1, window=Window(0, top, file.width, bottom - top))  # pyright: ignore[reportCallIssue]
    return path


def _strips(height: int, width: int) -> Iterator[tuple[int, int]]:
    rows = max(1, AT_ONCE // width)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))
