"""Polygons over real imagery become a dataset, a fine-tuned predictor and a score, through the command line."""

from __future__ import annotations

import json

import geopandas as gpd
import pytest
import rasterio
import torch
import yaml
from rasterio.features import rasterize
from sklearn.metrics import roc_auc_score

from ecotone import load
from ecotone.cli import app
from ecotone.data import open_dataset
from ecotone.encoders import Readout, build_encoder
from ecotone.inputs import InputSpec, RoleSpec, ZScore
from ecotone.weights import load_predictor, save_model


@pytest.fixture
def solaris(shared_data):
    return shared_data / "geotiff_fixtures" / "solaris"


@pytest.fixture
def sensor(tmp_path):
    """A sensor file for one band of plain numbers."""
    facts = {"name": "pan", "title": "panchromatic", "unit": "dn", "bands": [{"name": "pan"}], "source": "test"}
    (tmp_path / "pan.yaml").write_text(yaml.safe_dump(facts))
    return str(tmp_path / "pan.yaml")


@pytest.fixture
def model(tmp_path, sensor):
    torch.manual_seed(0)
    role = RoleSpec(sensor=sensor, bands=("pan",), unit="dn", normaliser=ZScore(mean=(459.0,), std=(263.0,)))
    spec = InputSpec(roles={"optical": role}, size_multiple=8)
    config = {"patch": 8, "width": 32, "depth": 1, "heads": 2}
    encoder = build_encoder("vit", spec, Readout(pooling="mean-std"), config)
    return save_model(encoder, tmp_path / "model", name="tiny", image_size=64)


def ecotone(*arguments):
    app([str(a) for a in arguments], standalone_mode=False)


def label(solaris, sensor, out, *options):
    """Label the scene's buildings; what the command says as JSON."""
    files = (solaris / "sample_geotiff.tif", "--vectors", solaris / "geotiff_labels.geojson", "--sensor", sensor)
    ecotone("data", "label", *files, "--out", out, "--json", out.with_suffix(".json"), *options)
    return json.loads(out.with_suffix(".json").read_text())


def test_chips_of_buildings_train_a_predictor_and_are_evaluated(solaris, sensor, model, tmp_path):
    chips = ("--as", "chips", "--size", 64, "--rule", "any", "--min-share", 0.1, "--block", 110)
    made = label(solaris, sensor, tmp_path / "set", *chips)
    assert (made["task"], list(made["classes"])) == ("classification", ["background", "present"])
    assert made["splits"].keys() == {"train", "val", "test"}
    tuned = tmp_path / "run"
    ecotone("finetune", model, "--data", tmp_path / "set", "--out", tuned, "--mode", "frozen", "--test")
    assert load_predictor(tuned).predictor.classes == ("background", "present")
    few = ("--protocol", "knn", "--scales", "1", "--no-floors", "--no-cache")
    ecotone("evaluate", model, "--data", tmp_path / "set", *few, "--json", tmp_path / "score.json")
    assert "spatial blocks of 110 m" in (tmp_path / "score.json").read_text()
    moved = (tmp_path / "set").rename(tmp_path / "elsewhere")
    assert open_dataset(moved)[0].images["optical"].bands == ("pan",)


def test_masks_of_buildings_train_a_predictor_that_maps_the_scene(solaris, sensor, model, tmp_path):
    made = label(solaris, sensor, tmp_path / "set", "--as", "masks", "--size", 64, "--block", 110)
    tuned = tmp_path / "run"
    frozen = ("--mode", "frozen", "--set", "balanced=true", "--json", tmp_path / "run.json")
    ecotone("finetune", model, "--data", tmp_path / "set", "--out", tuned, *frozen)
    assert made["task"] == json.loads((tmp_path / "run.json").read_text())["task"] == "segmentation"
    scene = solaris / "sample_geotiff.tif"
    found = load(tuned).predict(scene, tmp_path / "map.tif", sensor=sensor, probabilities=True)
    with rasterio.open(found.files["map"]) as mapped, rasterio.open(scene) as image:
        assert (mapped.shape, mapped.crs, mapped.transform) == (image.shape, image.crs, image.transform)
        shapes = gpd.read_file(solaris / "geotiff_labels.geojson").geometry
        truth = rasterize(shapes, out_shape=image.shape, transform=image.transform)
    with rasterio.open(found.files["probabilities"]) as file:
        building = file.read(2).astype(float)
    assert roc_auc_score(truth[::4, ::4].ravel(), building[::4, ::4].ravel()) > 0.7
