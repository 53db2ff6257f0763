"""Footprints: the ground polygons of square cells on a raster's pixel grid."""

from __future__ import annotations

from dataclasses import dataclass

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
    """Polygons in longitude and latitude (EPSG:4326) of cells, cut off at the raster's edge.

    Edges are straight between the transformed corners: at chip size the true edge departs from them by far less than
    a pixel.

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
        DataError: A cell has no longitude and latitude, or crosses the antimeridian.
    """
    top, left = np.asarray(rows, float), np.asarray(cols, float)
    bottom, right = np.minimum(top + cell, shape[0]), np.minimum(left + cell, shape[1])
    col = np.stack([left, left, right, right, left], 1)
    row = np.stack([top, bottom, bottom, top, top], 1)
    x = transform.a * col + transform.b * row + transform.c
    y = transform.d * col + transform.e * row + transform.f
    lon, lat = _to_degrees(x, y, crs=crs)
    if len(lon) and np.ptp(lon, axis=1).max() > 180:
        raise DataError(
            "the raster crosses the antimeridian, where a polygon in longitude and latitude would span the globe",
            mend="Split it at 180 degrees east first.",
        )
    return np.asarray(shapely.orient_polygons(shapely.polygons(np.stack([lon, lat], 2))))


def _to_degrees(x: np.ndarray, y: np.ndarray, *, crs: str) -> tuple[np.ndarray, np.ndarray]:
    transformer = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    lon, lat = transformer.transform(x, y)
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        raise DataError(
            "part of the raster lies outside its coordinate reference system, so it has no longitude and latitude",
            found=crs,
            mend="Check the CRS and the transform of the file.",
        )
    return lon, lat
