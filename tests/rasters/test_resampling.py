from __future__ import annotations

import pickle

import numpy as np
import pytest
import rasterio
import torch
import torch.nn.functional as F
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.warp import reproject

from ecotone.errors import DataError
from ecotone.rasters import at_gsd, open_raster

GRID = Affine(10, 0, 600000, 0, -10, 5000000)


def write(path, array, transform=GRID, crs="EPSG:32633", **profile):
    shape = {"count": len(array), "height": array.shape[1], "width": array.shape[2], "dtype": array.dtype}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, **shape, **profile) as file:
        file.write(array)
    return path


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    array = np.random.default_rng(0).integers(1, 9000, (2, 60, 84), dtype=np.uint16)
    return write(tmp_path_factory.mktemp("scene") / "a.tif", array), torch.from_numpy(array.astype(np.float32))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_whole_factors_are_means_of_blocks(scene, factor):
    path, array = scene
    with open_raster(path, at_gsd=10.0 * factor) as raster:
        image = raster.read()
    torch.testing.assert_close(image.pixels[0], F.avg_pool2d(array, factor), rtol=1e-6, atol=0)
    assert (image.gsd, image.effective_gsd, raster.gsd_source) == (10.0 * factor, 10.0 * factor, "resampled")
    assert image.valid is None
    assert raster.transform == Affine(10 * factor, 0, 600000, 0, -10 * factor, 5000000)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_finer_grids_are_interpolated_bilinearly_and_keep_the_effective_gsd(scene, factor):
    path, array = scene
    with open_raster(path, at_gsd=10.0 / factor) as raster:
        image = raster.read()
    expected = F.interpolate(array[None], scale_factor=factor, mode="bilinear")[0]
    torch.testing.assert_close(image.pixels[0], expected, rtol=1e-4, atol=0.01)
    assert (image.gsd, image.effective_gsd, image.valid) == (10.0 / factor, 10.0, None)


def test_a_fraction_is_the_mean_over_area_that_gdal_computes(scene):
    path, array = scene
    with open_raster(path, at_gsd=14.0) as raster:
        image = raster.read()
    assert raster.shape == (43, 60)
    expected = np.zeros((2, 43, 60), np.float32)
    same = {"src_crs": "EPSG:32633", "dst_crs": "EPSG:32633", "src_transform": GRID, "dst_transform": raster.transform}
    reproject(array.numpy(), expected, resampling=Resampling.average, **same)
    np.testing.assert_allclose(image.pixels[0, :, :42].numpy(), expected[:, :42], rtol=1e-4)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.sampled_from([3.0, 7.5, 12.0, 20.0, 33.3, 500.0]))
def test_any_window_is_the_cut_of_the_whole(scene, data, gsd):
    with open_raster(scene[0], at_gsd=gsd) as raster:
        whole = raster.read()
        (rows, cols), most = raster.shape, 40
        height = data.draw(st.integers(1, min(rows, most)))
        width = data.draw(st.integers(1, min(cols, most)))
        row = data.draw(st.integers(0, rows - height))
        col = data.draw(st.integers(0, cols - width))
        part = raster.read((row, col, height, width)).pixels
        strip = np.empty((2, height, cols), np.float32)
        seen = raster.read_rows(row, row + height, strip)
    assert torch.equal(part, whole.pixels[..., row : row + height, col : col + width])
    np.testing.assert_array_equal(strip, whole.pixels[0, :, row : row + height])
    expected = np.ones_like(seen) if whole.valid is None else whole.valid[0, row : row + height].numpy()
    np.testing.assert_array_equal(seen, expected)


@given(st.floats(3.0, 90.0))
@settings(deadline=None, max_examples=30)
def test_a_flat_scene_stays_flat_and_keeps_its_ground(tmp_path_factory, gsd):
    path = tmp_path_factory.getbasetemp() / "flat.tif"
    if not path.exists():
        write(path, np.full((1, 60, 84), 4321, np.uint16))
    with open_raster(path) as plain:
        raster = at_gsd(plain, gsd)
        image = raster.read()
        seen = torch.ones(raster.shape, dtype=torch.bool) if image.valid is None else image.valid[0]
        torch.testing.assert_close(image.pixels[0, 0].float()[seen], torch.full((int(seen.sum()),), 4321.0))
        left, bottom, right, top = raster.bounds
    assert (left, top) == (600000, 5000000)
    assert 600840 - 1e-3 <= right < 600840 + gsd and 4999400 - gsd < bottom <= 4999400 + 1e-3


def test_pixels_without_data_have_no_part_in_a_mean(tmp_path):
    array = np.full((1, 4, 8), 100, np.uint16)
    array[0, :2, :2] = 0  # a whole block
    array[0, 0, 2:4] = 0  # half a block
    array[0, :2, 4:6] = [[0, 0], [0, 700]]  # three quarters of one
    with open_raster(write(tmp_path / "a.tif", array, nodata=0), at_gsd=20) as raster:
        image = raster.read()
    assert image.valid[0].tolist() == [[False, True, False, True], [True] * 4]
    assert (image.pixels[0, 0][image.valid[0]] == 100).all()


def test_decibels_are_averaged_as_power(tmp_path):
    array = np.array([[[-10.0, 0.0]] * 2], np.float32)
    with open_raster(write(tmp_path / "a.tif", array), at_gsd=20, unit="dB") as raster:
        assert raster.read().pixels.item() == pytest.approx(10 * np.log10(0.55), abs=1e-5)


def test_a_rotated_grid_is_resampled_along_its_own_axes(tmp_path, scene):
    turned = Affine(8.660254037844387, 5.0, 600000, 5.0, -8.660254037844387, 5000000)
    path = write(tmp_path / "a.tif", scene[1].numpy().astype(np.uint16), transform=turned)
    with open_raster(path) as plain, open_raster(path, at_gsd=30) as raster:
        assert raster.gsd == 30
        torch.testing.assert_close(raster.read().pixels[0], F.avg_pool2d(scene[1], 3), rtol=1e-6, atol=0)
        assert raster.place_at((2, 3, 4, 5)).bounds == pytest.approx(plain.place_at((6, 9, 12, 15)).bounds)


def test_degrees_are_resampled_by_their_metres(shared_data):
    path = shared_data / "geotiff_fixtures/sen1floods11/Spain_7370579_S2Hand.tif"
    with open_raster(path) as plain, open_raster(path, at_gsd=20) as raster:
        assert raster.shape == tuple(-(-512 * plain.gsd // 20) for _ in range(2))
        assert raster.place.lon == pytest.approx(plain.place.lon, abs=2e-4)


def test_a_gsd_that_is_the_rasters_own_changes_nothing(scene):
    with open_raster(scene[0]) as raster:
        assert at_gsd(raster, 10.005) is raster
        assert at_gsd(raster, 10.02) is not raster


def test_masks_and_pickling_go_with_it(tmp_path, scene):
    path = write(tmp_path / "a.tif", scene[1].numpy().astype(np.uint16))
    classes = np.full((1, 60, 84), 4, np.uint8)
    classes[:, :30] = 9
    write(tmp_path / "a_SCL.tif", classes)
    with open_raster(path, mask="clouds", at_gsd=30) as raster:
        copy = pickle.loads(pickle.dumps(raster))
        assert copy.mask == "clouds"
        valid = copy.read().valid[0]
        copy.close()
    assert not valid[:10].any() and valid[10:].all()


def test_what_cannot_be_resampled_is_refused(tmp_path, scene):
    path = tmp_path / "bare.tif"
    write(path, np.ones((1, 4, 4), np.uint8), crs=None, transform=Affine.identity())
    with pytest.raises(DataError, match=r"does not say its GSD.*--gsd"):
        open_raster(path, at_gsd=10)
    with open_raster(path, gsd=5, at_gsd=10) as raster:
        assert raster.shape == (2, 2)
    with pytest.raises(DataError, match="classes"):
        open_raster(scene[0], unit="class", at_gsd=20)
    with pytest.raises(DataError, match="above zero"):
        open_raster(scene[0], at_gsd=0)
