from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ecotone.cli import evaluate_table as command
from ecotone.errors import DataError, RecipeError
from ecotone.evaluation import evaluate
from ecotone.evaluation.scale_table import load_table, scale_table
from ecotone.weights import save_model

RECIPE = Path(__file__).parents[2] / "recipes/tables/scale-mae.yaml"


def test_the_recipe_of_scale_mae_is_its_published_protocol():
    recipe = load_table(RECIPE)
    assert list(recipe.datasets) == [
        "AiRound",
        "CV-BrCT",
        "EuroSAT",
        "MLRSNet",
        "OPTIMAL-31",
        "RESISC45",
        "UC Merced",
        "WHU-RS19",
    ]
    assert (recipe.scales, recipe.scale_protocol, recipe.pooling) == ((1, 0.5, 0.25, 0.125), "native", "class")


def test_one_command_fills_the_rows_that_are_there_and_names_the_others(lamps, tiny_encoder, tmp_path):
    folder = lamps("multilabel", (30, 15, 20), name="eurosat_rgb")
    save_model(tiny_encoder(), tmp_path / "run" / "model", name="x", image_size=16)
    app = typer.Typer()
    command.register(app)
    words = f"{tmp_path}/run --recipe {RECIPE} --data {tmp_path} --cache {tmp_path}/kept"
    result = CliRunner().invoke(
        app, f"{words} --json {tmp_path}/t.json --csv {tmp_path}/t.csv --markdown {tmp_path}/t.md"
    )
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "t.json").read_text())
    assert len(content["missing"]) == 7 and "EuroSAT" not in content["missing"]
    mine, floor = content["rows"]
    assert (mine["dataset"], mine["encoder"], mine["floor"], floor["floor"]) == ("EuroSAT", "run", False, True)
    assert mine["values"][2:] == [None, None] and mine["mean"] is None  # 16 pixels allow no grid below a half
    alone = evaluate(
        [tmp_path / "run"],
        folder,
        protocols=["knn"],
        scales=(1, 0.5, 0.25, 0.125),
        scale_protocol="native",
        floors=False,
        readout=tiny_encoder(pooling="class").readout,
    )
    assert mine["values"][:2] == [r.value for r in alone.rows]
    assert any("n too small" in text for text in content["warnings"]["EuroSAT"])
    lines = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [line["encoder"] for line in lines] == ["run", floor["encoder"]] and lines[0]["mean"] == ""
    text = (tmp_path / "t.md").read_text()
    assert "| UC Merced | no such folder |" in text and "(best floor)" in text and "not fed" in text


def test_the_mean_is_over_all_scales(lamps, tiny_encoder, tmp_path):
    lamps("multilabel", (30, 15, 20), name="airound")
    recipe = load_table(RECIPE).model_copy(update={"scales": (1.0, 0.5)})
    table = scale_table([tiny_encoder()], recipe, tmp_path, floors=False)
    (row,) = table.rows
    assert row.mean == pytest.approx(sum(v for v in row.values if v is not None) / 2)
    assert len(table.lines()) == 1 + 1 + 7


def test_no_dataset_and_no_recipe_are_refused(tiny_encoder, tmp_path):
    with pytest.raises(DataError, match="none of the datasets"):
        scale_table([tiny_encoder()], load_table(RECIPE), tmp_path)
    wrong = tmp_path / "wrong.yaml"
    for text in ("name: x\nscale: [1]\n", "name: [", "- 1\n"):
        wrong.write_text(text)
        with pytest.raises(RecipeError):
            load_table(wrong)
    with pytest.raises(RecipeError, match="cannot read"):
        load_table(tmp_path / "none.yaml")
