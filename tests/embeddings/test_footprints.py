from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from ecotone.embeddings.footprints import CellGrid, footprints
from ecotone.errors import DataError

GRIDS = {
    "utm north": ("EPSG:32632", Affine(10, 0, 600_000, 0, -10, 5_300_000)),
    "utm south": ("EPSG:32733", Affine(0.3, 0, 300_000, 0, -0.3, 6_200_000)),
    "degrees": ("EPSG:4326", Affine(1e-4, 0, -60.5, 0, -1e-4, -3.1)),
    "rows upwards": ("EPSG:4326", Affine(1e-3, 0, 11, 0, 1e-3, 48)),
    "rotated": ("EPSG:3857", Affine(20, 5, 1_200_000, 5, -20, 6_100_000)),
}


@pytest.mark.parametrize("grid", GRIDS)
def test_a_polygon_contains_its_own_pixels_and_no_others(grid):
    crs, transform = GRIDS[grid]
    (polygon,) = footprints(np.array([32]), np.array([16]), 16, shape=(64, 64), crs=crs, transform=transform)
    rows, cols = (a.ravel() for a in np.mgrid[:64, :64])
    x, y = transform @ (cols + 0.5, rows + 0.5)
    lon, lat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    inside = shapely.contains_xy(polygon, lon, lat)
    expected = (rows >= 32) & (rows < 48) & (cols >= 16) & (cols < 32)
    assert (inside == expected).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(polygon))


def test_a_cell_beyond_the_edge_is_cut_off_there():
    crs, transform = GRIDS["degrees"]
    (polygon,) = footprints(np.array([48]), np.array([48]), 32, shape=(64, 60), crs=crs, transform=transform)
    west, south, east, north = polygon.bounds
    assert (east - west, north - south) == pytest.approx((12e-4, 16e-4))
    assert (west, north) == pytest.approx((-60.5 + 48e-4, -3.1 - 48e-4))


def test_a_raster_across_the_antimeridian_is_refused():
    transform = Affine(100, 0, 805_000, 0, -100, 8_000_000)
    with pytest.raises(DataError, match="antimeridian"):
        footprints(np.array([0]), np.array([0]), 256, shape=(256, 256), crs="EPSG:32760", transform=transform)


def test_a_raster_outside_its_crs_is_refused():
    transform = Affine(1, 0, 1e12, 0, -1, 1e12)
    with pytest.raises(DataError, match="outside its coordinate reference system"):
        footprints(np.array([0]), np.array([0]), 8, shape=(8, 8), crs="EPSG:32632", transform=transform)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 64), st.data())
def test_a_grid_covers_every_pixel_and_no_row_of_it_is_needless(height, width, cell, data):
    step = data.draw(st.integers(1, cell))
    for cells, pixels in zip(CellGrid((height, width), cell, step).size, (height, width), strict=True):
        assert (cells - 1) * step + cell >= pixels
        assert cells == 1 or (cells - 2) * step + cell < pixels
