"""Places as users name them, points, polygons and row ids, and the rows of a store that lie there."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import geopandas
import numpy as np
import shapely

from ecotone.embeddings.footprints import centres
from ecotone.embeddings.store import Store
from ecotone.errors import DataError

Place = tuple[float, float] | str | shapely.Geometry  # longitude and latitude, a row id, or a shape in degrees
_POINT = re.compile(r"\s*[-+.\deE]+\s*,\s*[-+.\deE]+\s*")
_WKT = re.compile(r"\s*(POINT|LINESTRING|POLYGON|MULTI\w+|GEOMETRYCOLLECTION)\b", re.IGNORECASE)
EARTH = 6_371_008.8  # mean radius in metres


def rows_at(store: Store, places: Sequence[Place]) -> np.ndarray:
    """(m,) rows at these places, without repetition, in the order of the places.

    Raises:
        DataError: A place holds no row.
    """
    found: list[int] = []
    for place in places:
        if isinstance(place, str):
            found.append(row_named(store, place))
        elif isinstance(place, shapely.Point):
            found.append(row_at(store, (place.x, place.y)))
        elif isinstance(place, shapely.Geometry):
            found += rows_in(store, place).tolist()
        else:
            found.append(row_at(store, place))
    return np.array(list(dict.fromkeys(found)), np.int64)


def row_at(store: Store, point: tuple[float, float]) -> int:
    """The row whose footprint holds a point; where footprints overlap, the one whose centre is nearest.

    Raises:
        DataError: No row holds it: it lies outside the store, or its place was dropped as not valid.
    """
    lon, lat = point
    box = store.boxes
    near = np.flatnonzero((box[:, 0] <= lon) & (lon <= box[:, 2]) & (box[:, 1] <= lat) & (lat <= box[:, 3]))
    shapes = store.geometries(near)
    inside = shapely.intersects_xy(shapes, lon, lat)
    if not inside.any():
        west, south, east, north = store.bounds
        within = west <= lon <= east and south <= lat <= north
        raise DataError(
            "there is no embedding at that point",
            found=f"longitude {lon:g}, latitude {lat:g}",
            expected=f"longitude {west:.6g} to {east:.6g} and latitude {south:.6g} to {north:.6g}",
            mend="Its place held too few valid pixels, or lies beside a rotated raster; choose a point nearby."
            if within
            else "Points are LON,LAT in degrees; check their order.",
        )
    east, north = (centres(shapes[inside]) - point).T
    away = np.hypot((east + 180) % 360 - 180, north)
    return int(near[inside][away.argmin()])


def rows_in(store: Store, shape: shapely.Geometry) -> np.ndarray:
    """(m,) rows whose centre lies in a shape; where there is none, as of a small shape, those that it touches.

    Raises:
        DataError: It touches none.
    """
    touched = rows_touching(store, shape)
    if not len(touched):
        found, held = (
            f"longitude {west:.6g} to {east:.6g} and latitude {south:.6g} to {north:.6g}"
            for west, south, east, north in (shapely.bounds(shape), store.bounds)
        )
        raise DataError("there is no embedding in that area", found=found, expected=f"some of {held}")
    inside = shapely.intersects_xy(shape, *centres(store.geometries(touched)).T)
    return touched[inside] if inside.any() else touched


def rows_touching(store: Store, shape: shapely.Geometry) -> np.ndarray:
    """(m,) rows whose footprint a shape in degrees touches."""
    west, south, east, north = shapely.bounds(shape)
    box = store.boxes
    near = np.flatnonzero((box[:, 0] <= east) & (west <= box[:, 2]) & (box[:, 1] <= north) & (south <= box[:, 3]))
    shapely.prepare(shape)
    return near[shapely.intersects(shape, store.geometries(near))]


def row_named(store: Store, name: str) -> int:
    """The row with this id.

    Raises:
        DataError: There is none.
    """
    ids = store.columns(["id"])["id"]
    found = np.flatnonzero(ids.to_numpy() == name)
    if len(found):
        return int(found[0])
    raise DataError(f"no row has the id {name!r}", mend=f"Ids of this store look like {ids[0].as_py()!r}.")


def metres_between(store: Store, rows: np.ndarray) -> np.ndarray:
    """(n,) metres on the sphere from the centre of each row to the nearest of these rows (haversine formula)."""
    lon, lat = np.radians(store.centres).T
    away = np.full(len(lon), np.inf)
    for row in rows:
        a = np.sin((lat - lat[row]) / 2) ** 2 + np.cos(lat) * np.cos(lat[row]) * np.sin((lon - lon[row]) / 2) ** 2
        np.minimum(away, 2 * EARTH * np.arcsin(np.sqrt(a.clip(0, 1))), out=away)
    return away


def parse_point(text: str) -> tuple[float, float]:
    """``LON,LAT`` in degrees.

    Raises:
        DataError: It is not two numbers in range.
    """
    parts = text.split(",")
    try:
        lon, lat = (float(p) for p in parts)
    except ValueError:
        raise DataError("a point is LON,LAT in degrees", found=repr(text), expected="for example 11.58,48.14") from None
    if not (math.isfinite(lon) and math.isfinite(lat) and abs(lon) <= 180 and abs(lat) <= 90):
        raise DataError(
            "a point is LON,LAT in degrees", found=repr(text), expected="longitude within 180, latitude within 90"
        )
    return lon, lat


def parse_place(text: str) -> list[Place]:
    """What a word of a command line names: a point as ``LON,LAT``, a vector file or WKT with shapes, or a row id.

    Raises:
        DataError: A point is out of range, or a file holds no shapes.
    """
    if _POINT.fullmatch(text):
        return [parse_point(text)]
    if Path(text).is_file() or _WKT.match(text):
        return list(read_shapes(text))
    return [text]


def read_shapes(text: str) -> list[shapely.Geometry]:
    """Shapes in degrees: those of a vector file that GDAL reads, brought to longitude and latitude, or one as WKT.

    Raises:
        DataError: It is neither, or holds no shape.
    """
    if Path(text).exists():
        try:
            table = geopandas.read_file(text)
        except Exception as error:  # whatever GDAL and pyogrio raise
            raise DataError(f"{text} is not a readable vector file", found=str(error).splitlines()[0]) from error
        if "geometry" not in table or table.geometry.isna().all():
            raise DataError(f"{text} holds no shapes", expected="points or polygons")
        table = table[~table.geometry.isna()]
        return list((table if table.crs is None else table.to_crs("EPSG:4326")).geometry)
    try:
        return [shapely.from_wkt(text)]
    except shapely.GEOSException:
        raise DataError(
            "that is neither a vector file nor a shape",
            found=repr(text[:80]),
            expected="a file, or WKT such as 'POLYGON ((11 48, 12 48, 12 49, 11 48))'",
        ) from None
