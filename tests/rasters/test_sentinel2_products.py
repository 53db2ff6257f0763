from __future__ import annotations

import shutil
import zipfile
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safe_product import L1C, NATIVE, SIDE, digital_numbers, metadata, product_name, write_product, zipped

from ecotone.errors import DataError
from ecotone.rasters import list_sources, open_raster
from ecotone.sensors import unit

BASELINES = {"05.09": -1000, "02.14": None}


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    """(level, baseline, form) -> path."""
    found = {}
    for level in ("L1C", "L2A"):
        for baseline, offset in BASELINES.items():
            safe = write_product(tmp_path_factory.mktemp(level), level, baseline, offset)
            found[level, baseline, "folder"], found[level, baseline, "zip"] = safe, zipped(safe)
    return found


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_a_product_is_one_image_of_all_its_bands_with_the_offset_of_its_metadata(products, level, baseline, form):
    with open_raster(products[level, baseline, form]) as raster:
        image = raster.read()
    bands = sorted(NATIVE, key=lambda b: (int(b[1:].rstrip("A")), b))
    bands = [b for b in bands if level == "L1C" or b != "B10"]
    assert image.bands == tuple("B" + b[1:].lstrip("0") for b in bands)
    assert (raster.shape, raster.gsd, raster.gsd_source) == ((SIDE, SIDE), 10.0, "georeference")
    assert (raster.sensor, raster.level) == (f"sentinel2-{level.lower()}", level)
    assert raster.name == product_name(level, baseline).removesuffix(".SAFE")
    assert image.times == (datetime(2023, 6, 12, 10, 10, 31, 24000, UTC),)
    assert raster.origin["PROCESSING_BASELINE"] == baseline
    reflectance = image.unit.to(unit("reflectance"), image.pixels[0])
    for band, seen in zip(bands, reflectance, strict=True):
        stored = torch.from_numpy(digital_numbers(band, NATIVE[band]).astype(np.float32))
        expected = (stored[0] + (BASELINES[baseline] or 0)) / 10000
        if NATIVE[band] == 10:
            torch.testing.assert_close(seen, expected, atol=1e-6, rtol=0)
            continue
        factor = NATIVE[band] // 10
        expected = F.interpolate(expected[None, None], scale_factor=factor, mode="bilinear")[0, 0]
        inside = slice(SIDE // 10 + 2 * factor, None)  # away from the pixels without data
        torch.testing.assert_close(seen[:, inside], expected[:, inside], atol=5.1e-5, rtol=0)


def test_the_offset_shows_in_the_unit_and_in_what_the_raster_says_of_its_origin(products):
    with open_raster(products["L2A", "05.09", "folder"]) as raster:
        assert raster.unit.name == "reflectance x 10000 + 1000"
        assert raster.origin["BOA_ADD_OFFSET"] == "-1000"
        assert raster.origin["BOA_QUANTIFICATION_VALUE"] == "10000"
    with open_raster(products["L2A", "02.14", "zip"]) as raster:
        assert raster.unit.name == "reflectance x 10000"
        assert "BOA_ADD_OFFSET" not in raster.origin


def test_pixels_without_data_are_not_valid_and_are_not_blended_into_their_neighbours(products):
    with open_raster(products["L2A", "05.09", "zip"]) as raster:
        image = raster.read()
    valid = image.valid[0]
    assert not valid[:, : SIDE // 10].any() and valid[:, SIDE // 10 + 6 :].all()
    assert image.pixels[0].int()[:, valid].min() >= 1100


def test_windows_and_chosen_bands_of_a_zip_are_cuts_of_the_whole(products):
    path = products["L2A", "05.09", "zip"]
    with open_raster(path) as raster, open_raster(path, bands=["B11", "B4"]) as two:
        whole = raster.read().pixels[0]
        part = two.read((10, 30, 40, 23)).pixels[0]
    names = list(raster.bands)
    assert torch.equal(part[1], whole[names.index("B4"), 10:50, 30:53])
    torch.testing.assert_close(part[0].int(), whole[names.index("B11"), 10:50, 30:53].int(), atol=1, rtol=0)


def test_the_grid_is_that_of_the_finest_chosen_band(products):
    with open_raster(products["L2A", "05.09", "folder"], bands=["B11", "B9"]) as raster:
        assert (raster.gsd, raster.shape) == (20.0, (SIDE // 2, SIDE // 2))
        np.testing.assert_array_equal(raster.read().pixels[0, 0].numpy(), digital_numbers("B11", 20)[0])


def test_a_file_or_folder_inside_a_product_takes_the_facts_of_the_product(products):
    safe = products["L2A", "05.09", "folder"]
    (folder,) = safe.glob("GRANULE/*/IMG_DATA/R10m")
    (blue,) = folder.glob("*_B02_10m.jp2")
    for source in (folder, blue, safe / "MTD_MSIL2A.xml"):
        with open_raster(source) as raster:
            assert (raster.unit.name, raster.level, raster.bands[0]) == (
                "reflectance x 10000 + 1000",
                "L2A",
                "B2" if source != safe / "MTD_MSIL2A.xml" else "B1",
            )


def test_what_the_user_says_comes_before_the_metadata_which_comes_before_dataset_yaml(products, tmp_path):
    safe = shutil.copytree(products["L2A", "02.14", "folder"], tmp_path / "x.SAFE")
    (tmp_path / "dataset.yaml").write_text("sensor: naip\nunit: reflectance x 10000 + 1000\nlevel: L1C\n")
    with open_raster(safe) as raster:
        assert (raster.sensor, raster.unit.name, raster.level) == ("sentinel2-l2a", "reflectance x 10000", "L2A")
    with open_raster(safe, unit="reflectance x 10000 + 1000") as raster:
        assert raster.unit.name == "reflectance x 10000 + 1000"


def test_folders_and_zips_of_products_are_listed_as_scenes(products):
    folder = products["L1C", "05.09", "folder"].parent
    sources = list_sources(folder)
    assert len(sources) == 2  # the product and its zip
    for source in sources:
        with source.open(bands=["B10"]) as raster:
            assert raster.gsd == 60


@pytest.fixture
def broken(tmp_path):
    """A small product whose metadata can be replaced."""

    def make(text=None, name="MTD_MSIL2A.xml"):
        safe = tmp_path / "broken.SAFE"
        safe.mkdir(exist_ok=True)
        if text is not None:
            (safe / name).write_text(text)
        return safe

    return make


def test_metadata_that_cannot_be_trusted_is_refused_in_one_sentence(broken):
    with pytest.raises(DataError, match="no metadata file"):
        open_raster(broken())
    with pytest.raises(DataError, match="granules with images"):
        open_raster(broken(metadata("L2A", "05.09", -1000)))
    with pytest.raises(DataError, match="cannot read the metadata"):
        open_raster(broken("<not closed>"))
    with pytest.raises(DataError, match="unsafe XML"):
        open_raster(broken('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'))


@pytest.mark.parametrize(
    ("offset", "offsets", "found"),
    [(-999, None, r"\[-999.0\]"), (None, {0: -1000, 1: 0}, r"\[-1000.0, 0.0\]"), ("x", None, "no number")],
)
def test_offsets_that_no_unit_expresses_are_refused(products, tmp_path, offset, offsets, found):
    safe = shutil.copytree(products["L2A", "05.09", "folder"], tmp_path / "x.SAFE")
    (safe / "MTD_MSIL2A.xml").write_text(metadata("L2A", "05.09", offset, offsets))
    with pytest.raises(DataError, match=found):
        open_raster(safe)


def test_zips_are_never_unpacked_and_hostile_ones_refused(tmp_path, products):
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(DataError, match=r"cannot read .*text.zip"):
        open_raster(tmp_path / "text.zip")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.SAFE/MTD_MSIL2A.xml", b" " * (33 * 2**20))
    with pytest.raises(DataError, match="overlong"):
        open_raster(tmp_path / "bomb.zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("scene.tif", b"")
    with pytest.raises(DataError, match=r"not one Sentinel-2 product; found no metadata file"):
        open_raster(tmp_path / "other.zip")
    before = sorted(tmp_path.rglob("*"))
    with zipfile.ZipFile(tmp_path / "escape.zip", "w") as file:
        file.writestr("../x.SAFE/MTD_MSIL2A.xml", metadata("L2A", "05.09", -1000))
        file.writestr("../x.SAFE/GRANULE/g/IMG_DATA/R10m/T_B02_10m.jp2", b"x")
    with pytest.raises(DataError):
        open_raster(tmp_path / "escape.zip")
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "escape.zip"])


def test_a_truncated_zip_is_refused(tmp_path, products):
    content = products["L2A", "05.09", "zip"].read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"cut\.zip"):
        open_raster(tmp_path / "cut.zip")


def test_bands_that_a_download_left_out_are_missing_by_name(products, tmp_path):
    safe = shutil.copytree(products["L1C", "05.09", "folder"], tmp_path / "x.SAFE")
    for file in safe.glob("GRANULE/*/IMG_DATA/*_B0[34].jp2"):
        file.unlink()
    with open_raster(safe) as raster:
        assert len(raster.bands) == sum(map(len, L1C.values())) - 2
    with pytest.raises(DataError, match="lacks the bands B3"):
        open_raster(safe, bands=["B2", "B3"])
