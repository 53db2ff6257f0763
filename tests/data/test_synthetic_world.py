from __future__ import annotations

from datetime import date

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from ecotone.data.synthetic import CLASSES, CRS, EVENT_CODE, World
from ecotone.data.synthetic.noise import Grid
from ecotone.data.synthetic.render import points_per_side
from ecotone.data.synthetic.sensing import blur
from ecotone.errors import DataError, EcotoneError
from ecotone.sensors import sensor

VARIED = (20970.0, -14370.0)  # from here 3 km of world 2 hold water, a town, fields, meadows and woods


@pytest.fixture(scope="module")
def world() -> World:
    return World(2)


def pixels(scene) -> np.ndarray:
    return scene.image.pixels[0].double().numpy()


def cover(scene, name: str) -> np.ndarray:
    return scene.land_cover == CLASSES.index(name) + 1


def test_two_worlds_of_one_seed_are_equal_and_of_two_seeds_differ(world):
    a, b, other = (w.scene(VARIED, 48, sensor="rgb") for w in (world, World(2), World(3)))
    assert torch.equal(a.image.pixels, b.image.pixels)
    assert np.array_equal(a.land_cover, b.land_cover)
    assert (a.land_cover != other.land_cover).mean() > 0.2


@pytest.mark.parametrize("name", ["sentinel2-l2a", "rgb", "sentinel1-grd", "dem"])
@settings(max_examples=5, deadline=None)
@given(dx=st.integers(-40, 150), dy=st.integers(-40, 150))
def test_a_window_is_a_crop_of_any_larger_window(name, dx, dy):
    world = _WORLD
    whole = world.scene(VARIED, (180, 170), sensor=name)
    part = world.scene((VARIED[0] + 10 * dx, VARIED[1] - 10 * dy), 40, sensor=name)
    top, left = max(dy, 0), max(dx, 0)
    rows, columns = min(dy + 40, 180) - top, min(dx + 40, 170) - left
    if min(rows, columns) <= 0:
        return
    a = pixels(whole)[:, top : top + rows, left : left + columns]
    b = pixels(part)[:, top - dy : top - dy + rows, left - dx : left - dx + columns]
    step = max(np.abs(a).max() * 1e-4, 1)  # a rounded number may fall to either side
    # Points on a border may fall to the other side by the last digit of float32, no more than a few in a million.
    assert (np.abs(a - b) > step).mean() < 2e-3
    covers = whole.land_cover[top : top + rows, left : left + columns]
    assert (covers != part.land_cover[top - dy : top - dy + rows, left - dx : left - dx + columns]).mean() < 2e-3


_WORLD = World(2)


@pytest.fixture(scope="module")
def sharp():
    """Sentinel-2, had it one native GSD of 1 m in all bands."""
    known = sensor("sentinel2-l2a")
    return known.model_copy(update={"bands": tuple(b.model_copy(update={"gsd": 1.0}) for b in known.bands)})


# At 40 m the points in a pixel lie 5 m apart, no longer on those of the 10 m pixels.
@pytest.mark.parametrize(
    ("fine", "coarse", "tolerance"), [(10.0, 20.0, 0.03), (10.0, 40.0, 0.05), (2.5, 10.0, 0.05), (1.0, 5.0, 0.05)]
)
def test_a_coarse_pixel_is_the_mean_of_the_fine_pixels_below_it(world, sharp, fine, coarse, tolerance):
    k, n = int(coarse / fine), 40
    low = pixels(world.scene(VARIED, n, gsd=coarse, sensor=sharp))
    high = pixels(world.scene(VARIED, n * k, gsd=fine, sensor=sharp)).reshape(-1, n, k, n, k).mean((2, 4))
    assert (np.abs(low - high).mean((1, 2)) < tolerance * high.mean((1, 2))).all()
    np.testing.assert_allclose(low.mean((1, 2)), high.mean((1, 2)), rtol=0.01)


def test_the_land_cover_of_a_coarse_window_is_that_of_the_fine_one(world):
    low, high = world.scene(VARIED, 40, gsd=20, sensor="rgb"), world.scene(VARIED, 80, gsd=10, sensor="rgb")
    shares = [[cover(s, c).mean() for c in CLASSES] for s in (low, high)]
    np.testing.assert_allclose(shares[0], shares[1], atol=0.02)


@pytest.mark.parametrize(
    ("name", "dtype", "low", "high"),
    [
        ("sentinel2-l2a", torch.uint16, 1, 12000),
        ("sentinel2-l1c", torch.uint16, 1, 12000),
        ("landsat8-oli", None, None, None),
        ("rgb", torch.uint8, 0, 255),
        ("sentinel1-grd", torch.float32, -45, 15),
        ("dem", torch.float32, 0, 2500),
    ],
)
def test_every_sensor_is_seen_in_its_bands_and_unit(world, name, dtype, low, high):
    image = world.scene(VARIED, 64, sensor=name).image
    known = sensor(name)
    assert image.bands == known.band_names
    assert image.unit == known.physical_unit
    assert image.sensor == name
    assert image.level == known.level
    assert image.pixels.shape == (1, len(known.bands), 64, 64)
    assert image.gsd == 10
    if dtype is not None:
        assert image.pixels.dtype == dtype
        assert low <= image.pixels.double().min()
        assert image.pixels.double().max() <= high
    if image.unit.quantity == "reflectance":
        fraction = image.unit.to(known.physical_unit.__class__("reflectance", "reflectance"), image.pixels)
        assert 0.03 < fraction.mean() < 0.4
    assert image.pixels.double().std() > 0


def test_sentinel1_is_darker_in_vh_and_over_water(world):
    scene = world.scene(VARIED, 300, sensor="sentinel1-grd")
    vv, vh = pixels(scene)
    assert vh.mean() < vv.mean() - 4
    water, town = cover(scene, "water"), cover(scene, "residential")
    assert vv[water].mean() < vv[~water].mean() - 4
    assert vv[town].mean() > vv[~town].mean()
    assert 1 < vv[water].std() < 3.5  # dB of a single date with about five looks


def test_bands_coarser_than_the_grid_are_blurred(world, sharp):
    real, unblurred = (world.scene(VARIED, 100, sensor=s) for s in ("sentinel2-l2a", sharp))
    names = real.image.bands

    def detail(scene, band):
        return np.abs(np.diff(pixels(scene)[names.index(band)], axis=1)).mean()

    assert detail(real, "B9") < 0.5 * detail(unblurred, "B9")
    assert 0.5 * detail(unblurred, "B11") < detail(real, "B11") < 0.85 * detail(unblurred, "B11")
    assert detail(real, "B4") == detail(unblurred, "B4")


@given(st.floats(1, 9))
@settings(max_examples=20, deadline=None)
def test_blur_keeps_the_mean_of_a_constant_and_of_a_single_bright_pixel(width):
    spot = np.zeros((25, 25), np.float32)
    spot[12, 12] = 1
    assert blur(spot, width).sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(blur(np.full((9, 9), 3, np.float32), width), 3, rtol=1e-5)


def ndvi(scene) -> np.ndarray:
    red, nir = (pixels(scene)[scene.image.bands.index(b)] for b in ("B4", "B8"))
    return (nir - red) / (nir + red)


def test_vegetation_is_green_in_summer_and_bare_in_winter(world):
    summer, winter = (world.scene(VARIED, 300, day=d) for d in (date(2021, 6, 15), date(2021, 12, 10)))
    for name, least in (("forest", 0.1), ("cropland", 0.15), ("grassland", 0.1)):
        where = cover(summer, name)
        assert where.sum() > 500
        assert ndvi(summer)[where].mean() > ndvi(winter)[where].mean() + least
    assert np.array_equal(summer.land_cover, winter.land_cover)
    assert ndvi(summer)[cover(summer, "water")].mean() < 0
    assert ndvi(summer)[cover(summer, "forest")].mean() > 0.6


def test_two_summer_days_differ_by_sun_haze_and_noise_alone(world):
    a, b = (pixels(world.scene(VARIED, 64, day=date(2021, 6, d))) for d in (14, 15))
    assert not np.array_equal(a, b)
    assert np.corrcoef(a[3].ravel(), b[3].ravel())[0, 1] > 0.97


def test_houses_are_seen_in_fine_pixels_and_merge_in_coarse_ones(world):
    fine, coarse = (world.scene(VARIED, n, gsd=g, sensor="rgb") for n, g in ((600, 5.0), (100, 30.0)))
    spread = [pixels(s)[1][cover(s, "residential")].std() for s in (fine, coarse)]
    assert spread[0] > 1.5 * spread[1]


START, END = date(2021, 3, 1), date(2022, 3, 1)


@pytest.fixture(scope="module")
def happened(world):
    return world.events((20000, 12000), 800, start=START, end=END)


@pytest.mark.parametrize(
    ("kind", "taken", "left"),
    [
        ("clearing", {"forest"}, "bare"),
        ("flood", set(CLASSES) - {"water"}, "water"),
        ("building", {"cropland", "grassland", "orchard"}, "residential"),
    ],
)
def test_an_event_changes_the_cover_of_the_marked_pixels_and_no_other(world, happened, kind, taken, left):
    event = next(e for e in happened if e.kind == kind)
    corner = (event.x - 800, event.y + 800)
    before = world.scene(corner, 160, sensor="rgb", day=START, events=happened)
    after = world.scene(corner, 160, sensor="rgb", day=END, events=[event])
    changed = after.change == EVENT_CODE[kind]
    assert changed.sum() > 50
    assert not before.change.any()
    assert np.array_equal(before.land_cover != after.land_cover, changed)
    assert set(np.unique(after.change)) == {0, EVENT_CODE[kind]}
    new = after.land_cover[changed] == CLASSES.index(left) + 1
    old = np.isin(before.land_cover[changed], [CLASSES.index(c) + 1 for c in taken])
    # Where parcels meet in a pixel, the most frequent cover may be a third one.
    assert new.mean() > 0.97
    assert old.mean() > 0.97


def test_all_events_together_are_marked_by_kind(world, happened):
    corner, size = (20000.0, 12000.0), 200
    plain = world.scene(corner, size, gsd=20, sensor="rgb", day=END)
    after = world.scene(corner, size, gsd=20, sensor="rgb", day=END, events=happened)
    assert np.array_equal(plain.land_cover != after.land_cover, after.change > 0)
    assert len(np.unique(after.change)) > 2


def test_events_are_a_function_of_place_and_begin_between_the_dates(world, happened):
    assert {e.kind for e in happened} == set(EVENT_CODE)
    assert all(START < e.start <= END for e in happened)
    assert all(e.seen(END) and not e.seen(START) for e in happened)
    part = world.events((22000, 10000), 200, start=START, end=END)
    assert part
    assert set(part) <= set(happened)


def test_events_with_a_misspelt_kind_or_dates_out_of_order_are_refused(world):
    with pytest.raises(DataError, match="flood"):
        world.events((0, 0), 10, kinds=["floods"], start=START, end=END)
    with pytest.raises(DataError, match="in order"):
        world.events((0, 0), 10, start=END, end=START)


@pytest.mark.parametrize(("size", "gsd"), [(0, 10), (10, 0), (10, -1), (10, float("nan"))])
def test_a_scene_without_pixels_or_gsd_is_refused(world, size, gsd):
    with pytest.raises(EcotoneError, match="above zero"):
        world.scene((0, 0), size, gsd=gsd)


def test_the_place_lies_at_the_middle_of_the_bounds(world):
    scene = world.scene((1000, 2000), (20, 40), gsd=5, sensor="dem")
    west, south, east, north = scene.place.bounds
    assert (east - west, north - south) == (200, 100)
    lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform((west + east) / 2, (south + north) / 2)
    assert (scene.place.lon, scene.place.lat) == pytest.approx((lon, lat))


def test_noise_has_the_promised_mean_and_deviation():
    steps = np.arange(400) * 37.0
    values = Grid(steps, steps).fbm(300, 3, 5)
    assert values.mean() == pytest.approx(0, abs=0.03)
    assert values.std() == pytest.approx(1, abs=0.05)


def test_points_in_a_pixel_are_as_fine_as_the_pixel_needs():
    assert [points_per_side(g) for g in (0.5, 5, 10, 20, 60, 500)] == [2, 2, 3, 6, 8, 8]
