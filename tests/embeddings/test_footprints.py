from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from ecotone.embeddings.footprints import CellGrid, centres, footprints
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


ROUND = {
    "utm at 180 degrees": ("EPSG:32760", Affine(100, 0, 805_000, 0, -100, 8_000_000)),
    "longitudes from 0 to 360": ("EPSG:4326", Affine(0.01, 0, 178.5, 0, -0.01, 10)),
    "the north pole": ("EPSG:3413", Affine(100, 0, -12_000, 0, -100, 13_000)),
    "the south pole": ("EPSG:3031", Affine(1000, 0, -128_000, 0, -1000, 100_000)),
    "beside the pole": ("EPSG:3413", Affine(100, 0, 3_000, 0, -100, 13_000)),
}


@pytest.mark.parametrize("cell", [64, 256])
@pytest.mark.parametrize("grid", ROUND)
def test_cells_at_180_degrees_and_around_the_poles_hold_their_own_pixels_and_no_others(grid, cell):
    crs, transform = ROUND[grid]
    first = np.arange(0, 256, cell)
    rows, cols = (a.ravel() for a in np.meshgrid(first, first, indexing="ij"))
    found = footprints(rows, cols, cell, shape=(256, 256), crs=crs, transform=transform)
    assert shapely.is_valid(found).all()
    bounds = shapely.bounds(found)
    assert (np.abs(bounds[:, [0, 2]]) <= 180).all() and (np.abs(bounds[:, [1, 3]]) <= 90).all()
    row, col = (a.ravel() for a in np.mgrid[2:256:8, 2:256:8])
    lon, lat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(*(transform @ (col + 0.5, row + 0.5)))
    lon = (lon + 180) % 360 - 180
    for shape, top, left in zip(found, rows, cols, strict=True):
        expected = (row >= top) & (row < top + cell) & (col >= left) & (col < left + cell)
        np.testing.assert_array_equal(shapely.contains_xy(shape, lon, lat), expected)


def test_a_split_cell_has_two_parts_and_one_centre():
    crs, transform = ROUND["utm at 180 degrees"]
    # Column 113 of row 128 lies on the antimeridian.
    (shape,) = footprints(np.array([0]), np.array([0]), 256, shape=(256, 256), crs=crs, transform=transform)
    assert shape.geom_type == "MultiPolygon" and len(shape.geoms) == 2
    assert shapely.is_ccw(shapely.get_exterior_ring(shapely.get_parts(shape))).all()
    x, y = transform @ (128, 128)
    expected = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    np.testing.assert_allclose(centres(np.array([shape])), [expected], atol=2e-3)


def test_a_map_of_the_world_is_one_polygon():
    shape = {"shape": (180, 360), "crs": "EPSG:4326", "transform": Affine(1, 0, -180, 0, -1, 90)}
    (world,) = footprints(np.array([0]), np.array([0]), 360, **shape)
    assert world.equals(shapely.box(-180, -90, 180, 90))


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
