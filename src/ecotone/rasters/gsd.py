"""Metres per pixel and place of a grid, from its transform and CRS."""

from __future__ import annotations

import math
from functools import lru_cache

import pyproj
from affine import Affine
from rasterio.crs import CRS

from ecotone.errors import DataError
from ecotone.samples import Place

WEB_MERCATOR = 3857
GSD_TOLERANCE = 0.05  # a declared GSD and a georeferenced one that differ by more contradict each other


def check_gsd(gsd: float | None, where: str) -> float | None:
    """The declared GSD, if it is one.

    Raises:
        DataError: It is zero, negative or not finite.
    """
    if gsd is not None and not (gsd > 0 and math.isfinite(gsd)):
        raise DataError(
            f"the GSD declared in {where} must be above zero", found=f"{gsd:g} m", expected="metres per pixel"
        )
    return gsd


def pixel_gsd(crs: CRS | None, transform: Affine, shape: tuple[int, int]) -> float | None:
    """Metres per pixel at the centre of a grid; the geometric mean of width and height where they differ.

    A projected grid is measured in the CRS's own units; Web Mercator is corrected for the latitude, by which its
    scale grows as 1 / cos(latitude); a geographic grid is measured along geodesics.

    Args:
        crs: CRS of the grid.
        transform: Pixel (column, row) to CRS coordinates.
        shape: Height and width in pixels.

    Returns:
        None without a usable georeference.
    """
    if crs is None or transform.is_identity:
        return None
    known = _known(crs.to_wkt())
    if known.is_geographic:
        return _geographic_gsd(known, transform, shape)
    metres = known.axis_info[0].unit_conversion_factor if known.axis_info else 1.0
    gsd = math.sqrt(abs(transform.determinant)) * metres
    if known.to_epsg() == WEB_MERCATOR:
        place = grid_place(crs, transform, shape)
        return _rounded(gsd * math.cos(math.radians(place.lat))) if place else None
    return _rounded(gsd)


def grid_place(
    crs: CRS | None, transform: Affine, shape: tuple[int, int], origin: tuple[int, int] = (0, 0)
) -> Place | None:
    """Longitude and latitude of the centre of a grid, and its bounds (left, bottom, right, top) in its CRS.

    Args:
        crs: CRS of the grid.
        transform: Pixel (column, row) to CRS coordinates.
        shape: Height and width in pixels.
        origin: Row and column of the upper left pixel.

    Returns:
        None without a usable georeference.
    """
    if crs is None or transform.is_identity:
        return None
    (row, col), (height, width) = origin, shape
    x, y = _at(transform, col + width / 2, row + height / 2)
    to_degrees = _to_degrees(crs.to_wkt())
    lon, lat = to_degrees.transform(x, y) if to_degrees else (math.nan, math.nan)
    if not (math.isfinite(lon) and abs(lat) <= 90):
        return None
    corners = [_at(transform, col + c, row + r) for r in (0, height) for c in (0, width)]
    xs, ys = [c[0] for c in corners], [c[1] for c in corners]
    return Place(lon, lat, crs.to_string(), (min(xs), min(ys), max(xs), max(ys)))


def _geographic_gsd(crs: pyproj.CRS, transform: Affine, shape: tuple[int, int]) -> float | None:
    degrees = math.degrees(crs.axis_info[0].unit_conversion_factor)
    row, col = shape[0] / 2, shape[1] / 2
    here, right, down = (_at(transform, *at) for at in ((col, row), (col + 1, row), (col, row + 1)))
    if abs(here[1] * degrees) >= 90:
        return None  # a file that calls its pixel numbers degrees
    geod = crs.get_geod() or pyproj.Geod(ellps="WGS84")
    sides = []
    for there in (right, down):
        lon1, lat1, lon2, lat2 = (value * degrees for value in (*here, *there))
        sides.append(geod.inv(lon1, lat1, lon2, lat2)[2])
    return _rounded(math.sqrt(sides[0] * sides[1]))


def _at(transform: Affine, col: float, row: float) -> tuple[float, float]:
    # Written out: affine 3 multiplies by @, affine 2 by *.
    t = transform
    return t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f


def _rounded(gsd: float) -> float:
    return float(f"{gsd:.9g}")  # transforms carry rounding noise such as 28.4999999993


@lru_cache(maxsize=256)
def _known(wkt: str) -> pyproj.CRS:
    return pyproj.CRS.from_wkt(wkt)


@lru_cache(maxsize=256)
def _to_degrees(wkt: str) -> pyproj.Transformer | None:
    if not (_known(wkt).is_geographic or _known(wkt).is_projected):
        return None  # a local CRS is tied to no place on Earth
    return pyproj.Transformer.from_crs(_known(wkt), "OGC:CRS84", always_xy=True)
