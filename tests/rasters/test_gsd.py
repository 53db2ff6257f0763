import math

import pyproj
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from ecotone.errors import DataError
from ecotone.rasters.gsd import check_gsd, grid_place, pixel_gsd

UTM = CRS.from_epsg(32633)
sizes = st.floats(0.05, 1000)


@given(sizes, sizes)
def test_a_projected_grid_in_metres_has_the_geometric_mean_of_its_pixel_sides(width, height):
    transform = Affine(width, 0, 500000, 0, -height, 5e6)
    assert pixel_gsd(UTM, transform, (10, 10)) == pytest.approx(math.sqrt(width * height), rel=1e-6)


@given(sizes, st.floats(0, 2 * math.pi))
def test_turning_a_grid_does_not_change_its_gsd(size, angle):
    c, s = size * math.cos(angle), size * math.sin(angle)
    turned = Affine(c, -s, 500000, s, c, 5e6)
    assert pixel_gsd(UTM, turned, (10, 10)) == pytest.approx(size, rel=1e-6)


def test_a_crs_in_feet_is_converted_to_metres():
    crs = CRS.from_epsg(2263)  # New York Long Island, US survey feet
    assert pixel_gsd(crs, Affine(1, 0, 980000, 0, -1, 200000), (10, 10)) == pytest.approx(1200 / 3937, rel=1e-6)


@given(st.floats(-84, 84), st.floats(0.1, 100))
def test_web_mercator_pixels_shrink_with_the_cosine_of_the_latitude(lat, size):
    y = pyproj.Transformer.from_crs(4326, 3857, always_xy=True).transform(10, lat)[1]
    transform = Affine(size, 0, 1e6, 0, -size, y)
    gsd = pixel_gsd(CRS.from_epsg(3857), transform, (2, 2))
    assert gsd == pytest.approx(size * math.cos(math.radians(lat)), rel=1e-3)


@given(st.floats(-85, 85), st.floats(1e-6, 1e-3))
def test_a_geographic_grid_is_measured_at_its_latitude(lat, degrees):
    transform = Affine(degrees, 0, 20, 0, -degrees, lat)
    gsd = pixel_gsd(CRS.from_epsg(4326), transform, (2, 2))
    # A sphere is within 0.7 % of the ellipsoid in either direction.
    sphere = math.radians(degrees) * 6371008.8 * math.sqrt(math.cos(math.radians(lat)))
    assert gsd == pytest.approx(sphere, rel=0.008)


def test_one_degree_at_the_equator_is_the_length_of_the_ellipsoid():
    gsd = pixel_gsd(CRS.from_epsg(4326), Affine(1e-4, 0, 0, 0, -1e-4, 0), (2, 2))
    assert gsd == pytest.approx(math.sqrt(11.1319491 * 11.0574276), rel=1e-5)


def test_no_georeference_gives_no_gsd_and_no_place():
    assert pixel_gsd(None, Affine(10, 0, 0, 0, -10, 0), (5, 5)) is None
    assert pixel_gsd(UTM, Affine.identity(), (5, 5)) is None
    assert grid_place(None, Affine(10, 0, 0, 0, -10, 0), (5, 5)) is None


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 300), st.integers(1, 300))
def test_the_place_of_a_window_is_its_part_of_the_grid(row, col, height, width):
    transform = Affine(10, 0, 600000, 0, -10, 5000000)
    place = grid_place(UTM, transform, (height, width), (row, col))
    left, top = 600000 + 10 * col, 5000000 - 10 * row
    assert place.bounds == pytest.approx((left, top - 10 * height, left + 10 * width, top))
    x, y = pyproj.Transformer.from_crs(4326, 32633, always_xy=True).transform(place.lon, place.lat)
    assert (x, y) == pytest.approx((left + 5 * width, top - 5 * height), abs=1e-3)


@pytest.mark.parametrize("gsd", [0.0, -10.0, math.nan, math.inf])
def test_a_declared_gsd_must_be_above_zero(gsd):
    with pytest.raises(DataError, match="must be above zero"):
        check_gsd(gsd, "the test")
