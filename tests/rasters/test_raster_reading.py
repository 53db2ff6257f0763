from __future__ import annotations

import multiprocessing
import pickle
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp

from ecotone.errors import DataError, SensorError
from ecotone.rasters import GsdWarning, open_raster

H, W = 37, 53
GRID = Affine(10, 0, 600000, 0, -10, 5000000)


def write(path: Path, array, *, names=(), colours=(), crs="EPSG:32633", transform=GRID, driver="GTiff", **profile):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": len(array), "height": array.shape[1], "width": array.shape[2], "dtype": array.dtype}
    with rasterio.open(path, "w", driver=driver, crs=crs, transform=transform, **shape, **profile) as file:
        file.write(array)
        for number, name in enumerate(names, 1):
            file.set_band_description(number, name)
        if colours:
            file.colorinterp = colours
    return path


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """Two bands of distinct numbers, without no-data."""
    array = np.arange(2 * H * W, dtype=np.uint16).reshape(2, H, W)
    return write(tmp_path_factory.mktemp("numbered") / "a.tif", array), torch.from_numpy(array)


windows = st.tuples(st.integers(-60, 60), st.integers(-60, 60), st.integers(1, 60), st.integers(1, 60))


@settings(deadline=None)
@given(windows)
def test_any_window_is_the_cut_of_the_raster_padded_and_marked_not_valid(numbered, window):
    path, whole = numbered
    row, col, height, width = window
    with open_raster(path) as raster:
        image = raster.read(window)
    assert image.pixels.shape == (1, 2, height, width)
    rows, cols = torch.arange(row, row + height), torch.arange(col, col + width)
    inside = ((rows >= 0) & (rows < H))[:, None] & ((cols >= 0) & (cols < W))[None]
    expected = whole[:, rows.clamp(0, H - 1)][:, :, cols.clamp(0, W - 1)].int() * inside
    assert torch.equal(image.pixels[0].int(), expected)
    assert torch.equal(inside, image.valid[0] if image.valid is not None else torch.ones(height, width).bool())
    assert image.gsd == 10


def test_an_empty_window_is_refused(numbered):
    with open_raster(numbered[0]) as raster, pytest.raises(DataError, match="at least one pixel"):
        raster.read((0, 0, 0, 5))


def test_a_pickled_raster_reads_the_same(numbered):
    raster = open_raster(numbered[0])
    before = raster.read().pixels
    assert torch.equal(pickle.loads(pickle.dumps(raster)).read().pixels, before)


def _sum(raster, results):
    results.put(int(raster.read().pixels.int().sum()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_raster_that_is_open_here_reads_right_in_another_process(numbered, method):
    path, whole = numbered
    context = multiprocessing.get_context(method)
    with open_raster(path) as raster:
        raster.read()
        results = context.Queue()
        process = context.Process(target=_sum, args=(raster, results))
        process.start()
        assert results.get(timeout=60) == int(whole.int().sum())
        process.join()
        assert torch.equal(raster.read().pixels[0].int(), whole.int())


def test_nan_makes_a_pixel_invalid(tmp_path):
    array = np.ones((2, 4, 4), np.float32)
    array[1, 2, 3] = np.nan
    with open_raster(write(tmp_path / "a.tif", array)) as raster:
        valid = raster.read().valid[0]
    assert not valid[2, 3] and valid.sum() == 15


@pytest.mark.parametrize(("nodata", "valid"), [(0, 15), (7, 14)])
def test_zero_is_no_data_only_where_all_bands_are_zero(tmp_path, nodata, valid):
    array = np.ones((2, 4, 4), np.uint16)
    array[:, 0, 0] = nodata
    array[0, 1, 1] = nodata  # in one band alone: a dark value if zero, no data otherwise
    with open_raster(write(tmp_path / "a.tif", array, nodata=nodata)) as raster:
        assert raster.read().valid[0].sum() == valid


def test_zero_in_one_band_is_no_data_where_the_unit_has_an_offset(tmp_path):
    array = np.full((2, 4, 4), 2000, np.uint16)
    array[0, 1, 1] = 0
    path = write(tmp_path / "a.tif", array, nodata=0)
    for unit, valid in (("reflectance x 10000", 16), ("reflectance x 10000 + 1000", 15)):
        with open_raster(path, unit=unit) as raster:
            seen = raster.read().valid
            assert (16 if seen is None else int(seen.sum())) == valid


def test_the_no_data_value_of_the_sensor_holds_where_the_file_names_none(tmp_path):
    array = np.ones((12, 4, 4), np.uint16)
    array[:, 0, 0] = 0
    with open_raster(write(tmp_path / "a.tif", array), sensor="sentinel2-l2a") as raster:
        assert raster.nodata == 0
        assert raster.read().valid[0].sum() == 15


def test_transparency_is_a_mask_and_no_band(tmp_path):
    array = np.full((4, 4, 4), 255, np.uint8)
    array[3, 0] = 0
    colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    with open_raster(write(tmp_path / "a.tif", array, colours=colours, photometric="rgb", alpha="yes")) as raster:
        image = raster.read()
    assert image.bands == ("R", "G", "B")
    assert image.valid[0].sum() == 12


def test_a_fourth_band_that_gdal_takes_for_transparency_is_a_band_where_four_are_declared(tmp_path):
    array = np.full((4, 4, 4), 255, np.uint8)
    array[3, 0] = 0
    path = write(tmp_path / "a.tif", array)
    with rasterio.open(path) as file:
        assert file.colorinterp[3] == ColorInterp.alpha
    with open_raster(path, sensor="naip") as raster:
        assert raster.bands == ("R", "G", "B", "N")
        assert raster.read().valid is None
    with open_raster(path, sensor="naip", bands=["N"]) as raster:
        image = raster.read()
        assert image.valid is None
        assert image.pixels[0, 0, :, 0].tolist() == [0, 255, 255, 255]


def test_an_internal_mask_is_respected(tmp_path):
    path = write(tmp_path / "a.tif", np.ones((1, 4, 4), np.uint8))
    mask = np.full((4, 4), 255, np.uint8)
    mask[:2] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(mask)
    with open_raster(path) as raster:
        assert raster.read().valid[0].sum() == 8


def test_colours_in_any_order_are_named_by_colour(tmp_path):
    array = np.stack([np.full((4, 4), v, np.uint8) for v in (3, 2, 1)])
    colours = (ColorInterp.blue, ColorInterp.green, ColorInterp.red)
    with open_raster(write(tmp_path / "a.tif", array, colours=colours)) as raster:
        assert raster.bands == ("B", "G", "R")
        assert raster.sensor == "rgb"


def test_descriptions_name_the_bands_whatever_their_order(tmp_path):
    array = np.ones((2, 4, 4), np.float32)
    raster = open_raster(write(tmp_path / "a.tif", array, names=("VH", "VV")))
    assert (raster.bands, raster.sensor) == (("VH", "VV"), "sentinel1-grd")


def test_bands_are_chosen_by_name_in_the_order_asked_for(tmp_path):
    array = np.stack([np.full((4, 4), v, np.int16) for v in (2, 3, 4)])
    path = write(tmp_path / "a.tif", array, names=("B2", "B3", "B4"))
    with open_raster(path, sensor="sentinel2-l2a", bands=["B04", "B02"]) as raster:
        assert raster.bands == ("B04", "B02")
        assert raster.read().pixels[0, :, 0, 0].tolist() == [4, 2]


def test_a_band_that_is_not_there_is_named(tmp_path):
    path = write(tmp_path / "a.tif", np.ones((3, 4, 4), np.int16), names=("B2", "B3", "B4"))
    with pytest.raises(DataError, match=r"lacks the bands B8; found B2, B3, B4"):
        open_raster(path, sensor="sentinel2-l2a", bands=["B4", "B8"])


def test_bands_that_several_sensors_share_have_no_sensor_and_no_unit(tmp_path):
    raster = open_raster(write(tmp_path / "a.tif", np.ones((3, 4, 4), np.int16), names=("B2", "B3", "B4")))
    assert (raster.bands, raster.sensor, raster.unit.name) == (("B2", "B3", "B4"), None, "dn")


def test_numbered_default_descriptions_are_not_taken_for_bands(tmp_path):
    names = ("Band 1", "Band 2", "Band 3")
    raster = open_raster(write(tmp_path / "LC08_a.tif", np.ones((3, 4, 4), np.uint16), names=names))
    assert raster.bands == ("band1", "band2", "band3")


def test_dataset_yaml_two_folders_up_is_used_and_arguments_come_first(tmp_path):
    (tmp_path / "dataset.yaml").write_text("sensor: naip\nbands: [N, R, G, B]\nunit: uint8\ngsd: 10\nlevel: ortho\n")
    path = write(tmp_path / "a" / "b" / "c.tif", np.ones((4, 4, 4), np.uint8))
    raster = open_raster(path)
    assert (raster.bands, raster.unit.name, raster.level) == (("N", "R", "G", "B"), "uint8", "ortho")
    assert raster.gsd_source == "declared"
    with pytest.warns(GsdWarning):
        assert open_raster(path, gsd=5).gsd == 5
    assert open_raster(path, sensor="naip", bands=["R", "G", "B", "N"]).bands == ("R", "G", "B", "N")


def test_eight_bit_numbers_are_not_scaled_reflectance(tmp_path):
    path = write(tmp_path / "a.tif", np.ones((12, 4, 4), np.uint8))
    with pytest.raises(DataError, match=r"cannot be reflectance x 10000.*--unit"):
        open_raster(path, sensor="sentinel2-l2a")
    assert open_raster(path, sensor="sentinel2-l2a", unit="reflectance").unit.name == "reflectance"


@pytest.mark.parametrize(
    ("what", "other"),
    [
        ("different CRSs", {"crs": "EPSG:32634"}),
        ("different areas", {"transform": Affine(10, 0, 600050, 0, -10, 5000000)}),
    ],
)
def test_files_that_do_not_lie_on_one_another_are_refused(tmp_path, what, other):
    array = np.ones((1, 4, 4), np.uint16)
    files = [write(tmp_path / "B02.tif", array), write(tmp_path / "B03.tif", array, **other)]
    with pytest.raises(DataError, match=what):
        open_raster(files)


def test_a_list_of_files_is_one_stack_in_the_order_of_the_list(tmp_path):
    files = [write(tmp_path / f"{n}.tif", np.full((1, 4, 4), v, np.uint16)) for n, v in (("B04", 4), ("B02", 2))]
    with open_raster(files, sensor="sentinel2-l2a", bands=["B4", "B2"]) as raster:
        assert raster.read().pixels[0, :, 0, 0].tolist() == [4, 2]


def test_a_no_data_value_that_the_type_cannot_hold_does_not_keep_coarse_bands_from_being_read(tmp_path):
    write(tmp_path / "HLS.S30_B02.tif", np.full((1, 8, 8), 7, np.uint16))
    coarse = Affine(20, 0, 600000, 0, -20, 5000000)
    write(tmp_path / "HLS.S30_B05.tif", np.full((1, 4, 4), 9, np.uint16), transform=coarse)
    with open_raster(tmp_path, sensor="hls-s30") as raster:
        assert raster.nodata == -9999
        assert raster.read().pixels[0, :, 3, 3].tolist() == [7, 9]


def test_two_files_for_one_band_are_refused(tmp_path):
    for name in ("x_B02.tif", "y_B02.tif"):
        write(tmp_path / name, np.ones((1, 4, 4), np.uint16))
    with pytest.raises(DataError, match="more than one file for B2"):
        open_raster(tmp_path, sensor="sentinel2-l2a")


def test_a_folder_without_band_files_says_what_it_found(tmp_path):
    write(tmp_path / "scene.tif", np.ones((3, 4, 4), np.uint16))
    with pytest.raises(DataError, match=r"no per-band files; found scene.tif; expected file names"):
        open_raster(tmp_path)


@pytest.mark.parametrize("source", ["none.tif", "text.tif", "cut.tif"])
def test_unreadable_files_are_named_in_one_sentence(tmp_path, source):
    (tmp_path / "text.tif").write_text("not a raster")
    whole = write(tmp_path / "whole.tif", np.random.default_rng(0).integers(0, 9999, (3, 200, 200), np.uint16))
    (tmp_path / "cut.tif").write_bytes(whole.read_bytes()[:30000])
    with pytest.raises(DataError, match=source), open_raster(tmp_path / source) as raster:
        raster.read()


def test_threads_that_open_files_without_a_georeference_hear_no_warning_and_leave_warnings_as_they_were(tmp_path):
    path = str(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(Path(path), np.ones((3, 8, 8), np.uint8), driver="PNG", crs=None, transform=Affine.identity())
    interval = sys.getswitchinterval()

    def work(_):
        with open_raster(path) as raster:
            return int(raster.read().pixels.sum())

    sys.setswitchinterval(1e-6)  # threads interleave as often as can be
    try:
        with warnings.catch_warnings(record=True) as heard, ThreadPoolExecutor(4) as pool:
            before = list(warnings.filters)
            assert set(pool.map(work, range(200))) == {3 * 64}
            assert list(warnings.filters) == before
    finally:
        sys.setswitchinterval(interval)
    assert not [w for w in heard if "geotransform" in str(w.message)]


def test_no_files_at_all_is_refused():
    with pytest.raises(DataError, match="no files to read"):
        open_raster([])


def test_complex_numbers_are_refused(tmp_path):
    with pytest.raises(DataError, match="complex"):
        open_raster(write(tmp_path / "a.tif", np.ones((1, 4, 4), np.complex64)))


@pytest.mark.parametrize(
    ("yaml", "error", "reason"),
    [
        ("sensr: rgb\n", DataError, "unknown key 'sensr'. Did you mean 'sensor'"),
        ("sensor: rgbx\n", SensorError, "unknown sensor 'rgbx'. Did you mean 'rgb'"),
        ("unit: uint9\n", SensorError, "unknown unit 'uint9'. Did you mean 'uint8'"),
        ("gsd: 0\n", DataError, "must be above zero"),
        ("gsd: near\n", DataError, "wrong value at gsd"),
        ("gsd: [1\n", DataError, "cannot read"),
    ],
)
def test_a_bad_dataset_yaml_is_refused_with_the_reason(tmp_path, yaml, error, reason):
    (tmp_path / "dataset.yaml").write_text(yaml)
    with pytest.raises(error, match=reason):
        open_raster(write(tmp_path / "a.tif", np.ones((3, 4, 4), np.uint8)))
