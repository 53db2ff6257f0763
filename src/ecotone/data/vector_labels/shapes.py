"""Points and polygons with classes, from any vector file, on the coordinates of a raster."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyogrio.errors
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from ecotone.data.masks import IGNORED
from ecotone.errors import DataError, nearest

PRESENT, BACKGROUND = "present", "background"
EQUAL_AREA = "EPSG:6933"
PARQUET = (".parquet", ".geoparquet", ".pq")
POINT, POLYGON = shapely.GeometryType.POINT, shapely.GeometryType.POLYGON


@dataclass(frozen=True)
class Shapes:
    """Labelled geometries of one kind.

    Attributes:
        geometries: (n,) shapely points, or polygons from the largest to the smallest, equal ones as in the file: drawn
            in this order, the smallest lies on top.
        codes: (n,) index of each one's class.
        classes: Class names; the background, if there is one, comes first.
        crs: Their coordinate reference system.
        points: They are points.
        background: What no shape covers is of the first class; otherwise it is unknown.
        counts: What was mended or left out: ``mended``, ``empty``, ``other``, ``unclassed``.
    """

    geometries: NDArray[np.object_]
    codes: NDArray[np.int64]
    classes: tuple[str, ...]
    crs: CRS
    points: bool
    background: bool
    counts: Counter[str] = field(default_factory=Counter)

    def at(self, crs: CRS) -> Shapes:
        """The same in another CRS."""
        moved = np.asarray(gpd.GeoSeries(self.geometries, crs=self.crs).to_crs(crs).array)
        return replace(self, geometries=moved, crs=crs)

    def overlaps(self) -> int:
        """How many pairs of polygons of two classes share an area."""
        one, other = shapely.STRtree(self.geometries).query(self.geometries, predicate="intersects")
        differ = (one < other) & (self.codes[one] != self.codes[other])
        one, other = one[differ], other[differ]
        shared = shapely.area(shapely.intersection(self.geometries[one], self.geometries[other]))
        return int((shared > 1e-9 * shapely.area(self.geometries[one])).sum())


def read_shapes(
    path: str | Path, *, column: str | None = None, layer: str | None = None, background: str | None = None
) -> Shapes:
    """Read GeoPackage, GeoJSON, Shapefile, GeoParquet or whatever else GDAL reads.

    Invalid geometries are mended, several-part points are taken apart, and what is empty or has no class is left out;
    all of it is counted.

    Args:
        path: The file.
        column: The column that holds the class; None for presence: every shape is ``present``.
        layer: The layer, where the file has several.
        background: Class of what no shape covers; None: ``background`` for presence, else it is unknown.

    Raises:
        DataError: The file cannot be read, has no CRS, no such column, or no usable shape; a clear sentence each.
    """
    table = _read(Path(path), layer)
    counts: Counter[str] = Counter()
    if column is None:
        names = np.full(len(table), PRESENT, object)
        background = background or BACKGROUND
    else:
        names = _names(table, column, path)
        counts["unclassed"] = sum(n is None for n in names)
    kept = np.array([n is not None for n in names])
    geometries, owner = _usable(np.asarray(table.geometry.array)[kept], counts, path)
    found = names[kept][owner]
    if background is not None and background in found:
        raise DataError(
            f"the background cannot be a class of {path}", found=repr(background), mend="Give it another name."
        )
    classes = (*([background] if background else []), *sorted(set(found), key=_natural))
    if len(classes) >= IGNORED:
        raise DataError(f"{path} has too many classes in {column}", found=len(classes), expected=f"below {IGNORED}")
    index = {name: i for i, name in enumerate(classes)}
    codes = np.array([index[name] for name in found], np.int64)
    crs = CRS(table.crs)
    areas = shapely.area(np.asarray(gpd.GeoSeries(geometries, crs=crs).to_crs(EQUAL_AREA).array))
    order = np.argsort(-areas, kind="stable")
    points = bool(shapely.get_type_id(geometries[0]) == POINT)
    return Shapes(geometries[order], codes[order], classes, crs, points, background is not None, counts)


def read_area(path: str | Path) -> Shapes:
    """Read the polygons of the area that was labelled.

    Raises:
        DataError: As for ``read_shapes``; or they are points.
    """
    area = read_shapes(path)
    if area.points:
        raise DataError(f"the labelled area in {path} is made of points", expected="polygons")
    return area


def _read(path: Path, layer: str | None) -> gpd.GeoDataFrame:
    if not path.exists():
        raise DataError(f"there is no file {path}")
    try:
        if path.suffix.lower() in PARQUET:
            table = gpd.read_parquet(path)
        else:
            table = gpd.read_file(path, layer=layer, engine="pyogrio")
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pa.ArrowInvalid, ValueError) as error:
        raise DataError(f"cannot read {path}", found=" ".join(str(error).split())) from error
    if not isinstance(table, gpd.GeoDataFrame) or not len(table):
        raise DataError(f"{path} holds no shapes", mend="Has it another layer? Give its name with --layer.")
    if table.crs is None:
        raise DataError(
            f"{path} has no coordinate reference system, so its shapes have no place",
            mend="Write it with one: ogr2ogr -a_srs EPSG:CODE labels.gpkg FILE",
        )
    return table


def _names(table: gpd.GeoDataFrame, column: str, path: str | Path) -> NDArray[np.object_]:
    """(n,) class names, None where there is none."""
    known = [str(c) for c in table.columns if c != table.geometry.name]
    if column not in known:
        mend = nearest(column, known) if known else "Leave the column out: every shape is then 'present'."
        raise DataError(f"{path} has no column {column!r}", mend=mend)
    values, missing = table[column].to_numpy(object), table[column].isna().to_numpy()
    names = [None if gone else _name(value) or None for value, gone in zip(values, missing, strict=True)]
    wrong = next((n for n in names if n and "|" in n), None)
    if wrong:
        raise DataError(f"a class in {path} holds the sign that joins classes", found=repr(wrong), expected="no |")
    return np.array(names, object)


def _name(value: object) -> str:
    """The class as a word; 3.0 is 3, because tables with gaps turn whole numbers into fractions."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value).strip()  # pyright: ignore[reportArgumentType]


def _natural(name: str) -> tuple[float, str]:
    return (float(name), "") if name.isdigit() else (float("inf"), name)


def _usable(
    given: NDArray[np.object_], counts: Counter[str], path: str | Path
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """The points, or the polygons, and for each the row it comes from."""
    empty = shapely.is_missing(given) | shapely.is_empty(given)
    wrong = ~empty & ~shapely.is_valid(given)
    counts["empty"], counts["mended"] = int(empty.sum()), int(wrong.sum())
    made = given.copy()
    made[wrong] = shapely.make_valid(given[wrong])
    parts, owner = shapely.get_parts(made[~empty], return_index=True)
    owner = np.flatnonzero(~empty)[owner]
    # A mended polygon may be a collection, whose lines and points are not part of its area.
    nested = shapely.get_type_id(parts) > POLYGON
    inner, outer = shapely.get_parts(parts[nested], return_index=True)
    parts, owner = np.concatenate([parts[~nested], inner]), np.concatenate([owner[~nested], owner[nested][outer]])
    kinds = shapely.get_type_id(parts)
    points, polygons = kinds == POINT, kinds == POLYGON
    asked = shapely.get_dimensions(given[~empty])
    counts["other"] = int((asked == 1).sum())
    if (asked == 0).any() and (asked == 2).any():
        raise DataError(
            f"{path} holds both points and polygons",
            found=f"{int((asked == 0).sum())} points, {int((asked == 2).sum())} polygons",
            expected="one kind",
            mend="Write them into two files or layers.",
        )
    chosen = polygons if (asked == 2).any() else points
    if not chosen.any():
        raise DataError(f"{path} holds no usable points or polygons", found=dict(+counts) or f"{len(given)} shapes")
    order = np.argsort(owner[chosen], kind="stable")
    return parts[chosen][order], owner[chosen][order]
