"""Plane: the class of every pixel of a raster by the shapes over it, burnt window by window."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.features import rasterize

from ecotone.data.masks import IGNORED
from ecotone.data.vector_labels.shapes import Shapes
from ecotone.rasters import Raster

Window = tuple[int, int, int, int]  # row, column, height, width


class Plane:
    """Shapes on the pixels of one raster.

    Args:
        raster: The raster; it has a CRS.
        shapes: Labelled shapes, in any CRS.
        area: Polygons outside of which nothing is known; None: everything was labelled.
        all_touched: A polygon covers every pixel that it touches.

    Attributes:
        shapes: The shapes in the raster's CRS, in the order in which they are drawn.
        met: (n,) which of them meet the raster.
    """

    def __init__(self, raster: Raster, shapes: Shapes, area: Shapes | None, *, all_touched: bool) -> None:
        self.raster, self._all_touched = raster, all_touched
        crs = CRS.from_wkt(raster.crs.to_wkt()) if raster.crs else shapes.crs
        self.shapes = shapes.at(crs)
        self._area = area.at(crs) if area else None
        self._trees = [shapely.STRtree(s.geometries) if s else None for s in (self.shapes, self._area)]
        self.met = np.zeros(len(self.shapes.geometries), bool)
        self.met[self._meeting(0, (0, 0, *raster.shape))] = True

    def burn(self, window: Window) -> NDArray[np.uint8]:
        """(height, width) class indices of a window, 255 where nobody says.

        A pixel belongs to a polygon if its centre lies in it, unless ``all_touched``; where polygons overlap, the
        smallest is drawn last.
        """
        empty = 0 if self.shapes.background else IGNORED
        codes = self._draw(0, self.shapes, self.shapes.codes, window, empty)
        if self._area is not None:
            known = self._draw(1, self._area, np.ones(len(self._area.codes), np.int64), window, 0)
            codes[known == 0] = IGNORED
        return codes

    def windows(self, side: int, *, cover: bool = False) -> Iterator[Window]:
        """Squares that cover the raster; the last ones of a row or column reach back, so that they lie within.

        Args:
            side: Pixels; at most the raster's shorter side.
            cover: Cut the last ones short instead, so that no pixel lies in two.
        """
        height, width = self.raster.shape
        for row in range(0, height, side):
            for col in range(0, width, side):
                if cover:
                    yield row, col, min(side, height - row), min(side, width - col)
                else:
                    yield min(row, height - side), min(col, width - side), side, side

    def pixels(self) -> NDArray[np.int64]:
        """(n, 2) row and column of the pixel in which each point lies; it may lie outside the raster."""
        inverse = ~self.raster.transform
        x, y = shapely.get_x(self.shapes.geometries), shapely.get_y(self.shapes.geometries)
        cols, rows = inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f
        # A point that its CRS cannot hold has no finite coordinates; -1 is outside every raster.
        return np.stack([np.nan_to_num(np.floor(v), nan=-1, posinf=-1, neginf=-1) for v in (rows, cols)], 1).astype(
            np.int64
        )

    def _meeting(self, which: int, window: Window) -> NDArray[np.int64]:
        tree = self._trees[which]
        assert tree is not None  # asked for the area only where there is one
        corners = window_corners(self.raster.transform, window)
        return np.sort(tree.query(shapely.Polygon(corners), predicate="intersects"))

    def _draw(
        self, which: int, shapes: Shapes, codes: NDArray[np.int64], window: Window, empty: int
    ) -> NDArray[np.uint8]:
        met = self._meeting(which, window)
        if not len(met):
            return np.full(window[2:], empty, np.uint8)
        return rasterize(
            zip(shapes.geometries[met], codes[met].tolist(), strict=True),
            out_shape=window[2:],
            fill=empty,
            transform=window_transform(self.raster.transform, window),
            all_touched=self._all_touched and which == 0,
            dtype="uint8",
        )


def window_transform(transform: Affine, window: Window) -> Affine:
    """Pixel (column, row) of a window to CRS coordinates."""
    t, (row, col, *_) = transform, window
    return Affine(t.a, t.b, t.a * col + t.b * row + t.c, t.d, t.e, t.d * col + t.e * row + t.f)


def window_corners(transform: Affine, window: Window) -> NDArray[np.float64]:
    """(4, 2) CRS coordinates of the corners of a window, around it."""
    t, (row, col, height, width) = transform, window
    cols = np.array([col, col, col + width, col + width])
    rows = np.array([row, row + height, row + height, row])
    return np.stack([t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f], 1)
