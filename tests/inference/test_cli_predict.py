"""``ecotone predict`` from the command line: one scene, many scenes, polygons, mistakes."""

from __future__ import annotations

import json
import os
import shutil

import geopandas
import numpy as np
import pytest
import rasterio
import torch
from test_predict import loaded, spec
from torch import nn
from typer.testing import CliRunner

from ecotone.cli import app
from ecotone.encoders import build_encoder
from ecotone.heads import PixelHead
from ecotone.weights import save_model, save_predictor


@pytest.fixture
def fields(tmp_path):
    """The folder of a predictor of two classes for every pixel."""
    torch.manual_seed(0)
    encoder = build_encoder("vit", spec(), None, {"patch": 8, "width": 16, "depth": 1, "heads": 2})
    head = PixelHead(features=16, outputs=2)
    nn.init.normal_(head.linear.weight)
    made = loaded(encoder, head, classes=("field", "town")).predictor
    return save_predictor(made, tmp_path / "fields", name="fields", image_size=32)


def ecotone(*words):
    return CliRunner().invoke(app, ["predict", *map(str, words), "--device", "cpu"])


def test_one_scene_with_everything(fields, write_tif, scene, tmp_path):
    path, out = write_tif(scene), tmp_path / "maps" / "map.tif"
    done = ecotone(
        path, "--model", fields, "--out", out, "--sensor", "rgb", "--probabilities", "--uncertainty", "--flips",
        "--polygons", "gpkg", "--min-area", 2000, "--simplify", 10, "--overlap", 8, "--json", tmp_path / "p.json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    names = {"map.tif", "map.probabilities.tif", "map.uncertainty.tif", "map.gpkg"}
    assert {f.name for f in out.parent.iterdir()} == names
    figures = next(iter(json.loads((tmp_path / "p.json").read_text())["predicted"].values()))
    assert figures["shape"] == [80, 100]
    assert figures["mpix_per_s"] > 0
    frame = geopandas.read_file(out.with_suffix(".gpkg"))
    assert set(frame["class"]) <= {"field", "town"}
    assert frame["area_m2"].sum() == pytest.approx(80 * 100 * 100, rel=0.02)


def test_a_folder_of_scenes_goes_on_and_lists_what_failed(fields, write_tif, scene, tmp_path):
    folder = tmp_path / "scenes"
    folder.mkdir()
    for name in ("a.tif", "b.tif"):
        shutil.move(write_tif(scene, name), folder / name)
    whole = (folder / "a.tif").read_bytes()
    (folder / "broken.tif").write_bytes(whole[: len(whole) // 3])
    words = (folder, "--model", fields, "--out", tmp_path / "maps", "--sensor", "rgb")
    first = ecotone(*words)
    assert first.exit_code == 1
    assert "2 scenes predicted, 0 done before, 1 in quarantine" in first.output
    reasons = json.loads((tmp_path / "maps" / "quarantine.json").read_text())["reasons"]
    assert [name.endswith("broken.tif") for name in reasons] == [True]
    maps = sorted((tmp_path / "maps").glob("*.tif"))
    before = [m.stat().st_mtime_ns for m in maps]
    assert len(maps) == 2
    (folder / "broken.tif").unlink()
    again = ecotone(*words)
    assert again.exit_code == 0
    assert "0 scenes predicted, 2 done before, 0 in quarantine" in again.output
    assert before == [m.stat().st_mtime_ns for m in maps]
    maps[1].unlink()
    assert "1 scene predicted, 1 done before" in ecotone(*words).output
    other = ecotone(*words, "--overlap", 0)
    assert "2 scenes predicted" in other.output
    with rasterio.open(maps[0]) as file:
        assert np.isin(file.read(), (0, 1)).all()


def test_streaming_leaves_gdal_little_memory_unless_the_user_gives_it_more(
    fields, write_tif, scene, tmp_path, monkeypatch
):
    words = (write_tif(scene), "--model", fields, "--sensor", "rgb", "--out")
    for given, used in ((None, "64"), ("512", "512")):
        monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
        if given:
            monkeypatch.setenv("GDAL_CACHEMAX", given)
        assert ecotone(*words, tmp_path / f"{used}.tif").exit_code == 0
        assert os.environ["GDAL_CACHEMAX"] == used


def test_mistakes_are_one_sentence(fields, write_tif, scene, tmp_path):
    path, out = write_tif(scene), tmp_path / "map.tif"
    torch.manual_seed(0)
    encoder = build_encoder("vit", spec(), None, {"patch": 8, "width": 16, "depth": 1, "heads": 2})
    bare = save_model(encoder, tmp_path / "bare", name="bare", image_size=32)
    for words, sentence in (
        ((path, "--model", bare, "--out", out), "encoder without a head"),
        ((path, "--model", fields, "--out", out, "--blend", "mean"), "no such way to blend"),
        ((path, "--model", fields, "--out", out, "--polygons", "shp"), "not written as 'shp'"),
        ((path, "--model", fields, "--out", out, "--bands", "VV,VH,DEM"), "lack 3 bands"),
        ((path, path.with_name("x.tif"), "--model", fields, "--out", out), "no file"),
        ((path, "--model", fields, "--out", out, "--window", 30), "patches"),
    ):
        done = ecotone(*words)
        assert done.exit_code == 1
        assert sentence in str(done.exception)
    assert not out.exists()
