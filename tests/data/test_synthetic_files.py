from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from datetime import date

import numpy as np
import pytest
import rasterio
import yaml
from PIL import Image
from typer import Typer
from typer.testing import CliRunner

from ecotone.cli import data_synth
from ecotone.data import open_dataset
from ecotone.data.synthetic import (
    CLASSES,
    CRS,
    EASTING,
    NORTHING,
    World,
    write_dataset,
    write_land_cover,
    write_preview,
    write_scene,
)
from ecotone.errors import DataError, RecipeError, SensorError
from ecotone.files import new_folder
from ecotone.rasters import open_raster


@pytest.mark.parametrize("name", ["sentinel2-l2a", "rgb", "sentinel1-grd", "dem"])
def test_a_scene_comes_back_from_its_file_with_bands_grid_and_label(tmp_path, name):
    scene = World(2).scene((20970, -14370), (30, 50), gsd=20, sensor=name)
    path = write_scene(scene, tmp_path / "image.tif")
    with rasterio.open(path) as file:
        assert file.crs == CRS
        assert file.transform == scene.transform
        assert (file.transform.c, file.transform.f) == (EASTING + 20970, NORTHING - 14370)
        assert file.descriptions == scene.image.bands
        assert file.tags()["ECOTONE_SYNTHETIC"] == "yes"
        np.testing.assert_array_equal(file.read(), scene.image.pixels[0].numpy())
    with open_raster(path, sensor=name) as raster:
        assert raster.gsd == pytest.approx(20)
        assert raster.bands == scene.image.bands
        assert raster.unit == scene.image.unit


def test_the_land_cover_file_names_and_colours_its_classes(tmp_path):
    scene = World(2).scene((20970, -14370), 40, gsd=60, sensor="dem")
    with rasterio.open(write_land_cover(scene, tmp_path / "cover.tif")) as file:
        np.testing.assert_array_equal(file.read(1), scene.land_cover)
        assert file.tags()["ECOTONE_SYNTHETIC"] == "yes"
        assert [file.tags()[f"CLASS_{i}"] for i in range(1, 11)] == list(CLASSES)
        assert file.colormap(1)[1] == (65, 130, 200, 255)
        assert file.nodata == 0


@pytest.mark.parametrize("name", ["sentinel2-l2a", "rgb", "sentinel1-grd", "dem"])
def test_every_sensor_has_a_picture_that_says_that_it_is_synthetic(tmp_path, name):
    path = write_preview(World(2).scene((20970, -14370), 32, gsd=40, sensor=name), tmp_path / "p.png")
    with Image.open(path) as picture:
        assert picture.info["ECOTONE_SYNTHETIC"] == "yes"
        values = np.array(picture)
    assert values.shape == (32, 32, 3)
    assert values.std() > 5


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("chips") / "data", n=90, size=16, gsd=10, seed=1)


def rows(path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_dataset_folder_declares_itself_synthetic_and_lists_every_chip(chips):
    facts = yaml.safe_load((chips / "dataset.yaml").read_text())
    assert facts["synthetic"] is True
    assert facts["name"].startswith("synthetic-")
    assert (facts["task"], facts["sensor"], facts["gsd"], facts["bands"]) == ("classification", "rgb", 10.0, [*"RGB"])
    listed = rows(chips / "manifest.csv")
    assert list(listed[0]) == ["path", "label", "split", "lon", "lat"]
    assert {r["path"] for r in listed} == {str(p.relative_to(chips)) for p in chips.rglob("*.png")}
    for row in listed[::20]:
        with Image.open(chips / row["path"]) as picture:
            assert picture.size == (16, 16)
            assert picture.info["ECOTONE_SYNTHETIC"] == "yes"


def test_classes_are_balanced_in_every_split(chips):
    counts = Counter((r["split"], r["label"]) for r in rows(chips / "manifest.csv"))
    assert {s for s, _ in counts} == {"train", "val", "test"}
    for split, n in (("train", 54), ("val", 18), ("test", 18)):
        per_class = [c for (s, _), c in counts.items() if s == split]
        assert (sum(per_class), max(per_class) - min(per_class) <= 1, len(per_class)) == (n, True, 9)


def test_splits_are_blocks_of_places_that_do_not_touch(chips):
    places = rows(chips / "places.csv")
    splits_of = defaultdict(set)
    for p in places:
        splits_of[p["block"]].add(p["split"])
    assert all(len(s) == 1 for s in splits_of.values())
    corners = np.array([(float(p["x"]), float(p["y"])) for p in places])
    split = np.array([p["split"] for p in places])
    apart = np.abs(corners[:, None] - corners).max(-1)
    assert apart[split[:, None] != split].min() >= 320  # two chips of 160 m
    assert len(np.unique(corners, axis=0)) == len(corners)


def test_labels_dominate_their_chips_and_dates_vary(chips):
    world, right = World(1), []
    places = rows(chips / "places.csv")
    for row, place in list(zip(rows(chips / "manifest.csv"), places, strict=True))[::3]:
        scene = world.scene((float(place["x"]), float(place["y"])), 16, gsd=10, sensor="rgb")
        right.append((scene.land_cover == CLASSES.index(row["label"]) + 1).mean() >= 0.6)
    assert np.mean(right) > 0.9
    assert len({p["date"] for p in places}) > 20


def test_the_dataset_is_read_back_by_ecotone(chips):
    data = open_dataset(chips, split="val")
    assert len(data) == 18
    assert data.info.synthetic
    assert data.info.gsd == 10
    sample = data[0]
    (image,) = sample.images.values()
    assert image.pixels.shape == (1, 3, 16, 16)
    assert data.info.classes[sample.targets["label"]] == data.labels()[0]


def test_multispectral_chips_are_georeferenced_tiffs_of_one_date(tmp_path):
    day = date(2021, 5, 2)
    out = write_dataset(tmp_path / "s2", n=9, size=8, gsd=20, sensor_name="sentinel2-l2a", day=day, splits={"all": 1})
    place = rows(out / "places.csv")[4]
    with rasterio.open(out / place["path"]) as file:
        assert file.count == 12
        assert (file.transform.c, file.transform.f) == (EASTING + float(place["x"]), NORTHING + float(place["y"]))
        assert file.tags()["ECOTONE_SYNTHETIC"] == "yes"
    assert {p["date"] for p in rows(out / "places.csv")} == {"2021-05-02"}
    assert {r["split"] for r in rows(out / "manifest.csv")} == {"all"}


@pytest.mark.parametrize("bad", [{"n": 0}, {"gsd": 0}, {"size": -3}, {"splits": {"train": 0}}, {"n": 10**7}])
def test_a_dataset_that_cannot_be_made_leaves_nothing_behind(tmp_path, bad, monkeypatch):
    monkeypatch.setattr("ecotone.data.synthetic.dataset._SIDE", 2)
    with pytest.raises(DataError):
        write_dataset(tmp_path / "out", **({"n": 9, "size": 16} | bad))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="not empty"), new_folder(tmp_path):
        pass
    assert (tmp_path / "mine.txt").read_text() == "precious"
    empty = tmp_path / "empty"
    empty.mkdir()
    with new_folder(empty) as folder:
        (folder / "a").write_text("b")
    assert (empty / "a").read_text() == "b"


@pytest.fixture
def synth():
    app = Typer()
    data_synth.register(app)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=True)


def test_the_verb_writes_a_scene_and_says_that_it_is_synthetic(synth, tmp_path):
    done = synth("--out", tmp_path / "s", "--size", 40, "--gsd", 20, "--json", tmp_path / "facts.json")
    assert done.exit_code == 0
    assert "synthetic" in done.output
    assert {p.name for p in (tmp_path / "s").iterdir()} == {"image.tif", "land_cover.tif", "preview.png"}
    assert json.loads((tmp_path / "facts.json").read_text())["synthetic"] is True


def test_the_verb_writes_a_pair_with_its_changes(synth, tmp_path):
    done = synth("--out", tmp_path / "p", "--kind", "pair", "--size", 128, "--gsd", 40, "--events", "building",
                 "--json", tmp_path / "facts.json")  # fmt: skip
    assert done.exit_code == 0, done.output
    facts = json.loads((tmp_path / "facts.json").read_text())
    with rasterio.open(tmp_path / "p" / "change.tif") as file:
        assert (file.read(1) > 0).sum() == facts["changed_pixels"] > 0
    assert {e["kind"] for e in facts["events"]} == {"building"}


def test_a_pair_in_which_nothing_happens_is_refused(synth, tmp_path):
    done = synth("--out", tmp_path / "p", "--kind", "pair", "--size", 8, "--gsd", 1, "--events", "clearing")
    assert isinstance(done.exception, RecipeError)
    assert not (tmp_path / "p").exists()


def test_an_unknown_sensor_is_named_and_nothing_is_written(synth, tmp_path):
    done = synth("--out", tmp_path / "p", "--sensor", "sentinel-2")
    assert isinstance(done.exception, SensorError)
    assert not list(tmp_path.iterdir())
