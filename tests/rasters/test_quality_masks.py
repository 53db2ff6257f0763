from __future__ import annotations

import numpy as np
import pytest
import rasterio
from safe_product import SIDE, scene_classes, write_jp2, write_product, zipped

from ecotone.errors import DataError, RecipeError
from ecotone.rasters import open_raster

GRID = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 600000, 0, -10, 5000000)}


def tif(path, array, names=(), pitch=10, **profile):
    grid = {**GRID, "transform": rasterio.Affine(pitch, 0, 600000, 0, -pitch, 5000000), **profile}
    shape = {"count": len(array), "height": array.shape[1], "width": array.shape[2], "dtype": array.dtype}
    with rasterio.open(path, "w", driver="GTiff", **shape, **grid) as file:
        file.write(array)
        for number, name in enumerate(names, 1):
            file.set_band_description(number, name)
    return path


def hidden(source, mask="clouds", **choices):
    """Values of pixel numbers 0, 1, … of the first row that the mask leaves out."""
    with open_raster(source, mask=mask, **choices) as raster:
        image = raster.read()
        alone = raster.read((0, 3, 1, 5))
    valid = np.ones(raster.shape, bool) if image.valid is None else image.valid[0].numpy()
    part = np.ones((1, 5), bool) if alone.valid is None else alone.valid[0].numpy()
    np.testing.assert_array_equal(part, valid[:1, 3:8])
    return np.flatnonzero(~valid[0]).tolist()


def beside(folder, values, word, names=("B2", "B3", "B4"), stem="scene"):
    """A scene of one row of pixels and a quality file with these values beside it."""
    row = np.asarray(values)[None, None]
    tif(folder / f"{stem}_{word}.tif", row.astype(np.uint16))
    return tif(folder / f"{stem}.tif", np.full((3, *row.shape[1:]), 2000, np.uint16), names)


@pytest.mark.parametrize(("mask", "classes"), [("clouds", [0, 3, 8, 9, 10]), ("snow", [11])])
def test_scene_classes_beside_a_file(tmp_path, mask, classes):
    assert hidden(beside(tmp_path, range(12), "SCL"), mask, sensor="sentinel2-l2a", bands=["B2"]) == classes


@pytest.mark.parametrize(
    ("word", "mask", "bits", "choices"),
    [
        ("QA60", "clouds", [10, 11], {}),
        ("QA_PIXEL", "clouds", [0, 1, 2, 3, 4], {}),
        ("QA_PIXEL", "snow", [5], {}),
        ("QA_PIXEL", "clouds,snow", [0, 1, 2, 3, 4, 5], {}),
        ("Fmask", "clouds", [1, 2, 3], {"sensor": "hls-s30", "bands": ["B2", "B3", "B4"]}),
        ("Fmask", "snow", [4], {"sensor": "hls-s30", "bands": ["B2", "B3", "B4"]}),
    ],
)
def test_bits_beside_a_file(tmp_path, word, mask, bits, choices):
    source = beside(tmp_path, [1 << n for n in range(16)], word)
    assert hidden(source, mask, **choices) == bits


def test_real_values_of_landsat_and_hls_layers(tmp_path):
    # USGS LSDS-1619: 21824 clear, 22280 cloud, 23888 cloud shadow, 30048 snow, 21952 water, 1 fill.
    assert hidden(beside(tmp_path, [21824, 22280, 23888, 30048, 21952, 1, 21824, 21824], "QA_PIXEL")) == [1, 2, 5]
    # HLS 2.0: 64 clear of low aerosol, 194 cloud of high aerosol, 72 shadow, 80 snow, 96 water, 255 fill.
    source = beside(tmp_path, [64, 194, 72, 80, 96, 255, 64, 64], "Fmask", stem="hls")
    assert hidden(source, sensor="hls-l30", bands=["B2", "B3", "B4"]) == [1, 2, 5]


def test_a_quality_band_inside_the_file_is_used_and_is_no_band_of_the_image(tmp_path):
    names = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12", "QA60")
    array = np.full((13, 1, 8), 2000, np.uint16)
    array[12] = 0
    array[12, 0, 5] = 1 << 10
    path = tif(tmp_path / "gee.tif", array, names)
    assert hidden(path) == [5]
    with open_raster(path) as raster:
        assert (raster.sensor, raster.bands) == ("sentinel2-l2a", names[:12])
        assert raster.read().valid is None


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_the_classes_of_a_product_are_laid_over_its_finer_bands(tmp_path, form):
    safe = write_product(tmp_path)
    path = zipped(safe) if form == "zip" else safe
    with open_raster(path, mask="clouds", bands=["B4"]) as masked, open_raster(path, bands=["B4"]) as plain:
        valid, before = masked.read().valid[0].numpy(), plain.read().valid[0].numpy()
    clouds = np.isin(np.kron(scene_classes()[0], np.ones((2, 2), int)), (0, 3, 8, 9, 10))
    assert clouds.sum() == 5 * 64
    np.testing.assert_array_equal(valid, before & ~clouds)
    with open_raster(list(masked.paths), mask="clouds") as again:
        np.testing.assert_array_equal(again.read().valid[0].numpy(), valid)


def test_level_1c_products_have_their_own_mask(tmp_path):
    safe = write_product(tmp_path, "L1C")
    rows = {}
    for mask in ("clouds", "snow"):
        with open_raster(safe, mask=mask, bands=["B4"]) as raster:
            rows[mask] = np.flatnonzero(~raster.read().valid[0, :, -1].numpy()).tolist()
    # Rows 4 (opaque), 6 (cirrus) and 8 (snow) of 60 m.
    assert rows == {"clouds": [*range(24, 30), *range(36, 42)], "snow": list(range(48, 54))}


def test_per_band_files_find_the_layer_of_their_own_scene(tmp_path):
    for scene, value in (("LC08_a", 1 << 3), ("LC08_b", 0)):
        for band in ("SR_B2", "SR_B3"):
            tif(tmp_path / f"{scene}_{band}.tif", np.full((1, 1, 8), 9000, np.uint16))
        tif(tmp_path / f"{scene}_QA_PIXEL.tif", np.full((1, 1, 8), value, np.uint16))
    files = {s: sorted(str(f) for f in tmp_path.glob(f"{s}_SR*")) for s in ("LC08_a", "LC08_b")}
    assert hidden(files["LC08_a"]) == list(range(8))
    assert hidden(files["LC08_b"]) == []


def test_a_mask_that_is_not_there_is_refused_with_what_was_looked_for(tmp_path):
    path = tif(tmp_path / "scene.tif", np.ones((3, 4, 4), np.uint8))
    tif(tmp_path / "other_SCL.tif", np.ones((1, 4, 4), np.uint8))
    with pytest.raises(DataError, match=r"no quality layer that tells clouds; found none; expected SCL"):
        open_raster(path, mask="clouds")


def test_a_layer_that_does_not_tell_what_is_asked_or_means_something_else_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"tells snow; found QA60 in .*scene_QA60\.tif"):
        open_raster(beside(tmp_path, [0] * 8, "QA60"), mask="snow")
    with pytest.raises(DataError, match="declared HLS sensor"):
        open_raster(beside(tmp_path, [0] * 8, "Fmask", stem="gee"), mask="clouds")


def test_a_layer_of_another_place_is_refused(tmp_path):
    path = tif(tmp_path / "scene.tif", np.ones((3, 4, 4), np.uint8))
    tif(tmp_path / "scene_SCL.tif", np.ones((1, 4, 4), np.uint8), transform=rasterio.Affine(10, 0, 0, 0, -10, 0))
    with pytest.raises(DataError, match="cover different areas"):
        open_raster(path, mask="clouds")


def test_unknown_masks_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="Did you mean 'clouds'"):
        open_raster(tif(tmp_path / "scene.tif", np.ones((3, 4, 4), np.uint8)), mask="cloud")


def test_a_masked_raster_reads_the_same_after_pickling(tmp_path):
    import pickle

    path = write_product(tmp_path)
    with open_raster(path, mask="clouds") as raster:
        copy = pickle.loads(pickle.dumps(raster))
        np.testing.assert_array_equal(copy.read((0, 0, 40, SIDE)).valid, raster.read((0, 0, 40, SIDE)).valid)
        copy.close()


def test_the_finer_of_two_layers_is_taken(tmp_path):
    safe = write_product(tmp_path)
    (fine,) = safe.glob("GRANULE/*/IMG_DATA/R20m/*_SCL_20m.jp2")
    write_jp2(fine.parents[1] / "R60m" / fine.name.replace("20m", "60m"), np.zeros((1, 16, 16), np.uint8), 60)
    with open_raster(safe, mask="clouds", bands=["B4"]) as raster:
        assert raster.read().valid[0, :, -1].any()
