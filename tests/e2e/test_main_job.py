"""The main job through the command line on small synthetic imagery: make, look, pretrain, evaluate, embed, search."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ecotone.cli import main

RECIPE = {
    "name": "small",
    "encoder": {
        "config": {"patch": 8, "width": 32, "depth": 2, "heads": 2, "positions": "gsd", "reference_gsd": 10.0},
        "readout": {"pooling": "mean-std"},
    },
    "method": {
        "kind": "scale-mae",
        "config": {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2, "head_width": 8, "head_layers": 1},
    },
    "transforms": [{"name": "random-resized-crop", "size": 32, "scale": [0.5, 1.0]}, {"name": "flip"}],
    "stage": {"images": 256, "batch_size": 16},
}


def ecotone(*arguments: object, code: int = 0) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "ecotone", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Chips, a scene and a trained run."""
    folder = tmp_path_factory.mktemp("main-job")
    synth = ("data", "synth", "--sensor", "sentinel2-l2a", "--out")
    ecotone(*synth, folder / "chips", "--kind", "dataset", "--count", 120, "--size", 32)
    ecotone(*synth, folder / "scene", "--kind", "scene", "--size", 128, "--seed", 3)
    recipe = RECIPE | {"data": {"path": str(folder / "chips"), "split": "train"}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    ecotone("pretrain", folder / "recipe.yaml", "--out", folder / "run", "--json", folder / "run.json")
    return folder


@pytest.fixture(scope="module")
def scene(place) -> Path:
    return next(p for p in sorted((place / "scene").glob("*.tif")) if "cover" not in p.name)


def test_the_deliverable_is_a_model_folder(place):
    assert sorted(p.name for p in (place / "run" / "model").iterdir()) == ["ecotone.yaml", "model.safetensors"]
    assert json.loads((place / "run.json").read_text())["images"] == 256
    card = yaml.safe_load((place / "run" / "model" / "ecotone.yaml").read_text())
    assert card["provenance"]["synthetic"] is True
    assert len(card["input"]["roles"]["optical"]["bands"]) == 12


def test_inspect_check_and_info_say_what_they_see(place, scene):
    seen = json.loads(ecotone("data", "inspect", place / "chips", "--json", "-").stdout)
    assert "sentinel2-l2a" in json.dumps(seen)
    found = json.loads(ecotone("check", place / "recipe.yaml", "--json", "-").stdout)
    assert found["valid"] and found["image_size"] == 16 and found["training_tflop"] > 0
    assert json.loads(ecotone("check", place / "run", scene, "--json", "-").stdout)["gsd"] == pytest.approx(10.0)
    assert "sentinel2-l2a" in ecotone("info").stderr
    assert json.loads(ecotone("info", place / "run", "--json", "-").stdout)["name"] == "small"


def test_evaluate_keeps_its_stable_interface(place):
    out = place / "scores.json"
    ecotone("evaluate", place / "run", "--data", place / "chips", "--protocol", "knn,linear",
            "--scales", "1,0.5,0.25,0.125", "--json", out, "--report", place / "scores.html")  # fmt: skip
    found = json.loads(out.read_text())
    assert set(found) >= {"contract", "results"}
    keys = {"encoder", "floor", "dataset", "protocol", "scale", "scale_protocol", "metric", "value", "ci95",
            "n_train", "n_test", "settings"}  # fmt: skip
    for row in found["results"]:
        assert keys <= set(row)
        assert 0 <= row["ci95"][0] <= row["value"] <= row["ci95"][1] <= 1
    own = [r for r in found["results"] if not r["floor"]]
    assert {(r["protocol"], r["scale"]) for r in own} == {
        (p, s) for p in ("knn", "linear") for s in (1, 0.5, 0.25, 0.125)
    }
    assert len({(r["encoder"], r["protocol"], r["scale"], r["metric"]) for r in found["results"]}) == len(
        found["results"]
    )
    assert sum(r["floor"] for r in found["results"]) >= 8 * 4
    page = (place / "scores.html").read_text()
    assert "synthetic" in page and "https://" not in page


def test_embed_then_search(place, scene):
    out = place / "scene.parquet"
    ecotone("embed", scene, "--model", place / "run", "--out", out, "--json", place / "embed.json")
    summary = json.loads((place / "embed.json").read_text())
    assert summary["rows"] == 64 and summary["gsd"] == pytest.approx(10.0)
    import geopandas

    table = geopandas.read_parquet(out)
    point = table.geometry.iloc[10].centroid
    hits = json.loads(ecotone("search", out, "--point", f"{point.x},{point.y}", "-k", 5, "--json", "-").stdout)["hits"]
    assert len(hits) == 5
    assert [h["distance"] for h in hits] == sorted(h["distance"] for h in hits)


def mistakes(place: Path, empty: Path) -> list[tuple[tuple, str]]:
    recipe, run, chips = place / "recipe.yaml", place / "run", place / "chips"
    rgb = place / "rgb" / "scene.tif"
    return [
        (("data", "inspect", empty), "lists no images"),
        (("pretrain", recipe, "--out", empty / "a", "--set", "stage.imges=9"), "Did you mean 'images'"),
        (("pretrain", recipe, "--out", empty / "a", "--set", "data.sensor=sentinel2"), "unknown sensor"),
        (("pretrain", recipe, "--out", empty / "a", "--set", "data.gsd=0"), "data.gsd"),
        (("pretrain", recipe, "--out", empty / "a", "--set", "data.path=nowhere"), "nowhere"),
        (("pretrain", place / "nowhere.yaml", "--out", empty / "a"), "cannot read the recipe"),
        (("evaluate", empty, "--data", chips), "is not a model"),
        (("evaluate", run, "--data", empty), "lists no images"),
        (("evaluate", run, "--data", chips, "--protocol", "knnn"), "Did you mean 'knn'"),
        (("evaluate", run, "--data", chips, "--pooling", "median"), "--pooling median"),
        (("embed", rgb, "--model", run, "--out", empty / "a.parquet"), "bands"),
        (("embed", rgb, "--model", recipe, "--out", empty / "a.parquet"), "is not a model; found a file"),
        (("search", empty / "none.parquet", "--point", "1,2"), "none.parquet"),
        (("check", run, place / "nowhere.tif"), "nowhere.tif"),
        (("info", "sentinel3"), "Did you mean 'sentinel"),
    ]


def test_every_mistake_is_one_sentence_and_leaves_nothing_behind(place, tmp_path, monkeypatch, capsys):
    import numpy as np
    import rasterio
    from rasterio.transform import from_origin

    (place / "rgb").mkdir(exist_ok=True)
    profile = {"driver": "GTiff", "count": 3, "height": 64, "width": 64, "dtype": "uint8", "photometric": "RGB"}
    transform = from_origin(500000, 5400000, 10, 10)
    with rasterio.open(place / "rgb" / "scene.tif", "w", **profile, crs="EPSG:32632", transform=transform) as file:
        file.write(np.full((3, 64, 64), 100, np.uint8))
    for arguments, sentence in mistakes(place, tmp_path):
        monkeypatch.setattr(sys, "argv", ["ecotone", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr().err
        assert stop.value.code == 1, (arguments, said)
        assert sentence in said.replace("\n", " "), (arguments, said)
        assert "Traceback" not in said
        assert list(tmp_path.iterdir()) == [], arguments
