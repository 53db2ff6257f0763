"""``ecotone data label``: several rasters at once, and one sentence for each mistake."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from ecotone.cli import main


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two scenes side by side in two zones, and fields over both."""
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).integers(1, 255, (3, 96, 96), dtype=np.uint8)
    field = gpd.GeoSeries([shapely.box(11.99, 47.0, 12.01, 47.01)], crs=4326)
    for name, crs in (("west", 32632), ("east", 32633)):
        west, south, east, north = field.to_crs(crs).total_bounds
        transform = Affine(10, 0, (west + east) / 2 - 480, 0, -10, (south + north) / 2 + 480)
        profile = {"driver": "GTiff", "count": 3, "height": 96, "width": 96, "dtype": "uint8"}
        with rasterio.open(f"{name}.tif", "w", crs=crs, transform=transform, **profile) as file:
            file.write(values)
            file.descriptions = ("R", "G", "B")
    gpd.GeoDataFrame({"crop": ["rye"]}, geometry=field).to_file("fields.gpkg", layer="fields")
    return tmp_path


def run(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["ecotone", "data", "label", *map(str, arguments)])
    try:
        main()
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def test_two_scenes_of_one_place_in_two_zones_share_blocks(place, monkeypatch):
    given = ("west.tif", "east.tif", "--vectors", "fields.gpkg", "--layer", "fields", "--column", "crop")
    options = ("--background", "other", "--as", "masks", "--size", 16, "--block", 200, "--json", "said.json")
    assert run(monkeypatch, *given, *options, "--out", "set") == 0
    said = json.loads((place / "said.json").read_text())
    assert set(said["classes"]) == {"other", "rye"}
    assert set(said["splits"]) == {"train", "val", "test"}
    boxes: dict[str, list] = {}
    for line in (place / "set" / "manifest.csv").read_text().splitlines()[1:]:
        path, _, split, *_ = line.split(",")
        with rasterio.open(place / "set" / path) as file:
            ground = gpd.GeoSeries([shapely.box(*file.bounds)], crs=file.crs).to_crs(32632)
            boxes.setdefault(split, []).append(ground[0])
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        assert shapely.union_all(boxes[a]).intersection(shapely.union_all(boxes[b])).area < 5  # of 25,600 m2 a tile


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.tif", "--vectors", "fields.gpkg"), "none.tif"),
        (("west.tif", "--vectors", "none.gpkg"), "there is no file none.gpkg"),
        (("west.tif", "--vectors", "fields.gpkg", "--as", "boxes"), "unknown kind of labels"),
        (("west.tif", "--vectors", "fields.gpkg", "--shares", "most"), "shares are three numbers"),
        (("west.tif", "--vectors", "fields.gpkg", "--column", "corp"), "Did you mean 'crop'"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(place, monkeypatch, capsys, arguments, message):
    assert run(monkeypatch, *arguments, "--out", "set") == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (place / "set").exists()


def test_a_run_that_was_killed_is_cleared_away_by_the_next(place, monkeypatch):
    words = ("west.tif", "--vectors", "fields.gpkg", "--background", "other", "--as", "pixels", "--limit", "60")
    words += ("--out", "set")
    command = "from ecotone.cli import main; main()"
    killed = subprocess.Popen([sys.executable, "-c", command, "data", "label", *words], stderr=subprocess.DEVNULL)
    while not any(place.glob(".set.*.tmp/set/images/*")):
        assert killed.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL and not (place / "set").exists()
    assert len(list(place.glob(".set.*"))) == 1
    assert run(monkeypatch, *words) == 0
    assert sorted(f.name for f in place.iterdir()) == ["east.tif", "fields.gpkg", "set", "west.tif"]
    assert not any(f.name.startswith(".") for f in (place / "set").iterdir())
