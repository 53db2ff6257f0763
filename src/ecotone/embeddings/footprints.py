"""Footprints: the ground polygons of square cells on a raster's pixel grid."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyproj
import shapely
from affine import Affine

from ecotone.errors import DataError


@dataclass(frozen=True)
class CellGrid:
    """A regular grid of square cells over a raster; neighbours overlap where ``step`` is below ``cell``.

    Attributes:
        shape: Height and width of the raster in pixels.
        cell: Side of a cell in pixels.
        step: Pixels from one cell to the next.
    """

    shape: tuple[int, int]
    cell: int
    step: int

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of cells that cover the raster; the last ones may reach beyond its edge."""
        rows, cols = (max(1, -(-(n - self.cell) // self.step) + 1) for n in self.shape)
        return rows, cols

    def transform(self, raster: Affine) -> Affine:
        """Column and row of the cells to CRS coordinates; overlapping cells are drawn as their middle part.

        Args:
            raster: Pixel column and row to CRS coordinates.
        """
        middle, t, s = (self.cell - self.step) / 2, raster, self.step
        west, north = t.a * middle + t.b * middle + t.c, t.d * middle + t.e * middle + t.f
        return Affine(t.a * s, t.b * s, west, t.d * s, t.e * s, north)


def footprints(
    rows: np.ndarray, cols: np.ndarray, cell: int, *, shape: tuple[int, int], crs: str, transform: Affine
) -> np.ndarray:
    """Shapes in longitude and latitude (EPSG:4326) of cells, cut off at the raster's edge.

    Edges are straight between the transformed corners: at chip size the true edge departs from them by far less than
    a pixel. Cells wider than a degree on a projected grid, as near the poles, get more points along their edges. A cell
    across the antimeridian is split there into a MultiPolygon (RFC 7946, 3.1.9); one around a pole reaches up to it.

    Args:
        rows: (n,) first pixel row of each cell.
        cols: (n,) first pixel column of each cell.
        cell: Side of a cell in pixels.
        shape: Height and width of the raster in pixels.
        crs: The raster's coordinate reference system.
        transform: Pixel column and row to CRS coordinates.

    Returns:
        (n,) shapely polygons, counterclockwise.

    Raises:
        DataError: A cell has no longitude and latitude.
    """
    known = pyproj.CRS.from_user_input(crs)
    top, left = np.asarray(rows, float), np.asarray(cols, float)
    bottom, right = np.minimum(top + cell, shape[0]), np.minimum(left + cell, shape[1])
    col = np.stack([left, left, right, right, left], 1)
    row = np.stack([top, bottom, bottom, top, top], 1)
    lon, lat = _to_degrees(col, row, transform, known)
    found = np.asarray(shapely.polygons(np.stack([lon, lat], 2)))
    width = np.ptp(lon, axis=1)
    for i in np.flatnonzero((width > 180) | ((width > 1) & known.is_projected)):
        edges = _with_points_between(col[i]), _with_points_between(row[i])
        found[i] = _on_the_globe(*_to_degrees(*edges, transform, known))
    return np.asarray(shapely.orient_polygons(found))


def centres(shapes: np.ndarray) -> np.ndarray:
    """(n, 2) longitude and latitude of the centroids of footprints, of those that are split at 180 degrees too."""
    found = shapely.get_coordinates(shapely.centroid(shapes))
    box = shapely.bounds(shapes)
    for i in np.flatnonzero(box[:, 2] - box[:, 0] > 180):
        joined = shapely.union_all([_moved(p, 360 * (p.bounds[2] <= 0)) for p in shapely.get_parts(shapes[i])])
        lon, lat = shapely.get_coordinates(shapely.centroid(joined))[0]
        found[i] = (lon + 180) % 360 - 180, lat
    return found


def _with_points_between(corners: np.ndarray) -> np.ndarray:
    """(65,) a ring of five corners with 15 more points along each edge."""
    return np.append(np.concatenate([np.linspace(a, b, 16, endpoint=False) for a, b in pairwise(corners)]), corners[-1])


def _on_the_globe(lon: np.ndarray, lat: np.ndarray) -> shapely.Geometry:
    """The shape within a ring, whose longitudes may wrap round: within -180 to 180 degrees."""
    steps = np.diff(lon)
    turns = np.concatenate([[0], np.cumsum(np.round(((steps + 180) % 360 - 180 - steps) / 360))])
    east = lon + 360 * turns  # the exact longitudes again: a ring must close
    if abs(east[-1] - east[0]) > 180:  # the ring goes round a pole: close it along the pole
        pole = np.copysign(90, lat.mean())
        east, lat = np.append(east, [east[-1], east[0]]), np.append(lat, [pole, pole])
    whole = shapely.Polygon(np.stack([east, lat], 1))
    parts = [shapely.intersection(_moved(whole, turn), _GLOBE) for turn in (-360, 0, 360)]
    return shapely.union_all([p for p in parts if p.area > 0])


_GLOBE = shapely.box(-180, -90, 180, 90)


def _moved(shape: shapely.Geometry, east: float) -> shapely.Geometry:
    return shapely.transform(shape, lambda degrees: degrees + np.array([east, 0]))


def _to_degrees(col: np.ndarray, row: np.ndarray, transform: Affine, crs: pyproj.CRS) -> tuple[np.ndarray, np.ndarray]:
    x = transform.a * col + transform.b * row + transform.c
    y = transform.d * col + transform.e * row + transform.f
    lon, lat = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        raise DataError(
            "part of the raster lies outside its coordinate reference system, so it has no longitude and latitude",
            found=crs.to_string(),
            mend="Check the CRS and the transform of the file.",
        )
    return np.where(np.abs(lon) > 180, (lon + 180) % 360 - 180, lon), lat
