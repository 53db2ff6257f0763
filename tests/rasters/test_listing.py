from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from ecotone.errors import DataError
from ecotone.rasters import list_sources
from ecotone.rasters.sources import source_id


def tif(path: Path, bands=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 600000, 0, -10, 5000000)}
    with rasterio.open(path, "w", driver="GTiff", width=4, height=4, count=bands, dtype="uint16", **grid) as file:
        file.write(np.ones((bands, 4, 4), np.uint16))
    return path


def names(given):
    return [re.sub(r"-[0-9a-f]{12}$", "", s.id) for s in list_sources(given)]


def test_a_folder_with_the_bands_of_one_scene_is_one_scene(tmp_path):
    for name in ("T33_B02_10m.tif", "T33_B03_10m.tif", "T33_B05_20m.tif", "T33_SCL_20m.tif"):
        tif(tmp_path / "scene" / name)
    (source,) = list_sources(tmp_path / "scene")
    assert source.path == str(tmp_path / "scene")
    with source.open(sensor="sentinel2-l2a") as raster:
        assert raster.bands == ("B2", "B3", "B5")


def test_bands_without_a_common_beginning_are_one_scene_called_after_the_folder(tmp_path):
    for name in ("B02.tif", "B03.tif", "SCL.tif"):
        tif(tmp_path / "munich" / name)
    assert names(tmp_path / "munich") == ["munich"]


def test_many_scenes_of_per_band_files_in_one_folder_are_told_apart(tmp_path):
    for scene in ("LC08_a", "LC08_b"):
        for band in ("SR_B2", "SR_B3", "QA_PIXEL"):
            tif(tmp_path / f"{scene}_{band}.TIF")
    tif(tmp_path / "other.tif", bands=3)
    sources = list_sources(tmp_path)
    assert names(tmp_path) == ["LC08_a", "LC08_b", "other"]
    assert [Path(p).name for p in sources[0].path] == ["LC08_a_SR_B2.TIF", "LC08_a_SR_B3.TIF"]
    with sources[0].open() as raster:
        assert (raster.sensor, raster.bands) == ("landsat8-oli", ("B2", "B3"))


def test_the_id_of_a_scene_does_not_change_when_others_arrive(tmp_path):
    for band in ("B2", "B3"):
        tif(tmp_path / f"LC08_a_{band}.tif")
    before = list_sources(tmp_path)[0].id
    for band in ("B2", "B3"):
        tif(tmp_path / f"LC08_b_{band}.tif")
    tif(tmp_path / "deep" / "a.tif")
    after = list_sources(tmp_path)
    assert before == after[0].id and len(after) == 3


def test_files_with_several_bands_are_scenes_whatever_their_names_end_in(tmp_path):
    for name in ("field_N.tif", "field_R.tif"):
        tif(tmp_path / name, bands=3)
    assert names(tmp_path) == ["field_N", "field_R"]


def test_a_folder_is_searched_in_its_subfolders_for_rasters_products_and_zips(tmp_path):
    tif(tmp_path / "b.tif", 3)
    tif(tmp_path / "x" / "a.tif", 3)
    tif(tmp_path / "x" / "S2B.SAFE" / "GRANULE" / "B02.tif")
    (tmp_path / "y" / "product").mkdir(parents=True)
    (tmp_path / "y" / "product" / "MTD_MSIL1C.xml").write_text("<x/>")
    with zipfile.ZipFile(tmp_path / "y" / "S2A.SAFE.zip", "w") as file:
        file.writestr("S2A.SAFE/MTD_MSIL2A.xml", "<x/>")
    (tmp_path / "x" / "raw").write_bytes(b"0")
    (tmp_path / "x" / "raw.HDR").write_text("ENVI")
    (tmp_path / "x" / "notes.txt").write_text("not listed")
    tif(tmp_path / ".hidden" / "c.tif", 3)
    (tmp_path / "x" / "circle").symlink_to(tmp_path)
    assert names(tmp_path) == ["b", "a", "raw", "S2B", "S2A", "product"]
    assert all(isinstance(s.path, str) for s in list_sources(tmp_path))


def test_real_folders_hold_the_scenes_that_people_see_in_them(shared_data):
    assert len(list_sources(shared_data / "satclip_s2_12band")) == 8
    assert len(list_sources(shared_data / "terramesh_examples")) == 10
    fixtures = list_sources(shared_data / "geotiff_fixtures")
    assert len(fixtures) == 12  # twelve of the 23 files are the bands of one patch
    assert sum(s.path == str(shared_data / "geotiff_fixtures/bigearthnet_v1_patch") for s in fixtures) == 1


def test_patterns_match_files_and_folders_in_order(tmp_path):
    for name in ("b.tif", "a.tif", "deep/er/c.tif", "deep/B02.tif", "deep/B03.tif"):
        tif(tmp_path / name)
    (tmp_path / "a.tif.aux.xml").write_text("<x/>")
    assert names(f"{tmp_path}/*.tif*") == ["a", "b"]
    assert names(f"{tmp_path}/**/c.tif") == ["c"]
    assert names(f"{tmp_path}/d*") == ["deep", "c"]
    with pytest.raises(DataError, match=r"no raster matches .*z"):
        list_sources(f"{tmp_path}/z*.tif")


def test_a_name_with_brackets_that_exists_is_a_file_and_no_pattern(tmp_path):
    assert list_sources(tif(tmp_path / "a[1].tif"))[0].path == str(tmp_path / "a[1].tif")


def test_a_list_names_inputs_relative_to_its_folder_and_keeps_those_that_are_missing(tmp_path, monkeypatch):
    for name in ("a.tif", "more/b.tif", "more/c.tif"):
        tif(tmp_path / "data" / name, 3)
    text = f"# scenes\na.tif\n\nmissing.tif\nmore/*.tif\n{tmp_path}/data/a.tif\nhttps://example.org/d.tif\n"
    (tmp_path / "data" / "list.txt").write_text(text)
    monkeypatch.chdir(tmp_path)
    sources = list_sources("@data/list.txt")
    assert [re.sub(r"-[0-9a-f]{12}$", "", s.id) for s in sources] == ["a", "missing", "b", "c", "d"]
    with pytest.raises(DataError, match=r"no file .*missing\.tif"):
        sources[1].open()


def test_inputs_that_overlap_give_each_scene_once(tmp_path, monkeypatch):
    tif(tmp_path / "a.tif")
    monkeypatch.chdir(tmp_path)
    assert names(["a.tif", tmp_path / "a.tif", str(tmp_path), "./a.tif", "*.tif"]) == ["a"]


def test_urls_are_sources_whose_signature_is_no_part_of_the_id():
    plain = "https://host/x/scene.tif"
    ids = [list_sources(plain + query)[0].id for query in ("", "?sig=abc&se=1", "?sig=def", "?item=2")]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert ids[0].startswith("scene-")
    assert list_sources("s3://bucket/scene.tif")[0].path == "s3://bucket/scene.tif"


@given(st.text(), st.text())
def test_ids_are_safe_names_of_files(name, full):
    found = source_id(name, full)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*-[0-9a-f]{12}", found)
    assert len(found) <= 93
    assert found != source_id(name, full + "x")


@pytest.mark.parametrize(
    ("given", "reason"), [("none.tif", "there is no file"), ("empty", "holds no rasters"), ("@none.txt", "cannot read")]
)
def test_inputs_that_hold_nothing_are_refused(tmp_path, monkeypatch, given, reason):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=reason):
        list_sources(given)


def test_a_list_within_a_list_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("@b.txt\n")
    with pytest.raises(DataError, match="names another list"):
        list_sources(f"@{tmp_path}/a.txt")
    with pytest.raises(DataError, match="no rasters to read"):
        list_sources([])
