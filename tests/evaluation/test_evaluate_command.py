from __future__ import annotations

import json

import pytest
import typer
from PIL import Image as Picture
from typer.testing import CliRunner

from ecotone.cli import evaluate as command
from ecotone.errors import EcotoneError
from ecotone.weights import save_model


@pytest.fixture
def app():
    app = typer.Typer()
    command.register(app)
    return app


@pytest.fixture
def folder(make_splits, tmp_path):
    """The patterns as PNG files with a manifest."""
    root = tmp_path / "patterns"
    root.mkdir()
    lines = ["path,label,split"]
    for name, data in make_splits((30, 15, 20)).items():
        for i, (pixels, label) in enumerate(zip(data.pixels, data.labels(), strict=True)):
            Picture.fromarray(pixels.permute(1, 2, 0).numpy()).save(root / f"{name}{i}.png")
            lines.append(f"{name}{i}.png,{label},{name}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    (root / "dataset.yaml").write_text(
        "name: patterns\ntask: classification\nsensor: rgb\nbands: [R, G, B]\nunit: uint8\ngsd: 10.0\n"
        "classes: [class 0, class 1, class 2]\n"
    )
    return root


def test_the_verb_writes_json_and_page_and_prints_the_floors(app, folder, tiny_encoder, tmp_path):
    save_model(tiny_encoder(), tmp_path / "run" / "model", name="x", image_size=32)
    result = CliRunner().invoke(
        app,
        f"{tmp_path}/run --data {folder} --protocol knn --scales 1,0.5 "
        f"--json {tmp_path}/scores.json --report {tmp_path}/page.html",
    )
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "scores.json").read_text())
    assert set(content) >= {"contract", "results", "skipped", "verdicts"}
    assert len(content["results"]) == 8 * 2
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert "image statistics" in result.stderr and "n too small" in result.stderr


@pytest.mark.parametrize("options", [["--scales", "one"], ["--protocol", "knnn"], ["--scale-protocol", "nativ"]])
def test_mistakes_are_refused_before_anything_is_written(app, folder, tiny_encoder, tmp_path, options):
    save_model(tiny_encoder(), tmp_path / "run" / "model", name="x", image_size=32)
    target = tmp_path / "scores.json"
    with pytest.raises(EcotoneError):
        CliRunner().invoke(
            app,
            [str(tmp_path / "run"), "--data", str(folder), "--json", str(target), *options],
            catch_exceptions=False,
        )
    assert not target.exists()
