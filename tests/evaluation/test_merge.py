"""Result folders joined into one table; foreign encoders in it."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

from ecotone.cli import evaluate as command
from ecotone.encoders import Foreign
from ecotone.errors import DataError, EcotoneError, RecipeError
from ecotone.evaluation import evaluate, merge
from ecotone.evaluation.features import Reader
from ecotone.weights import save_model


@pytest.fixture
def data(lamps):
    return lamps("multilabel", counts=(30, 20, 24))


OPTIONS = {"scales": (1, 0.5), "protocols": ["knn", "retrieval"], "audits": ()}


@pytest.fixture
def two(data, tiny_encoder, tmp_path):
    """Two models under one contract in two folders, and in one call."""
    models = [tiny_encoder(patch=8, seed=s) for s in (0, 1)]
    for i, model in enumerate(models):
        save_model(model, tmp_path / f"m{i}", name="x", image_size=16, provenance={"images_seen": 10 * i})
    for i in range(2):
        evaluate([tmp_path / f"m{i}"], data, out=tmp_path / f"out{i}", **OPTIONS)
    return evaluate([tmp_path / "m0", tmp_path / "m1"], data, compare=True, **OPTIONS)


def test_a_merge_says_what_one_call_says_without_reading_an_image(two, data, tmp_path, monkeypatch):
    shutil.rmtree(data)
    monkeypatch.setattr(Reader, "batches", None)
    merged = merge([tmp_path / "out0", tmp_path / "out1"])
    rows = {(r.encoder, r.protocol, r.scale, r.metric): (r.value, r.ci95) for r in merged.rows}
    assert rows == {(r.encoder, r.protocol, r.scale, r.metric): (r.value, r.ci95) for r in (*two.rows, *two.others)}
    assert sorted(map(str, merged.pairs)) == sorted(map(str, two.pairs))
    assert [m.budget for m in merged.models] == [m.budget for m in two.models]
    assert len(merged.rows) == len(rows)
    assert merge([tmp_path / "out0", tmp_path / "out1", tmp_path / "out0"]).to_dict() == merged.to_dict()


def test_the_merged_page_says_what_the_page_of_one_call_says(two, tmp_path):
    merged = merge([tmp_path / "out0", tmp_path / "out1"])
    [report] = merged.reports.values()
    best = [d for d in two.differences if d.role == "best floor"]
    assert sorted(map(str, report.differences)) == sorted(map(str, best))
    assert sorted(map(str, report.means)) == sorted(map(str, two.means))
    assert report.details.labels == two.details.labels and report.caveats == two.caveats
    assert [m.scores for m in report.models] == [m.scores for m in two.models]
    merged.save_html(tmp_path / "merged.html")
    html = (tmp_path / "merged.html").read_text("utf-8")
    for verdict in report.verdicts:
        assert verdict.text in html and verdict.encoder in ("m0", "m1")
    for text in ("Merged from folders of results", "Class by class", "Scale curve", report.contract.hash, "red</th>"):
        assert text in html
    assert "Worst errors" not in html and "Embedding map" not in html


def test_a_folder_without_a_score_of_every_model_at_every_scale_still_makes_a_page(two, tmp_path):
    file = tmp_path / "out1" / "results.jsonl"
    lines = [
        x for x in file.read_text().splitlines(keepends=True) if json.loads(x)["contestant"] != "m1" or "/1.0/" in x
    ]
    file.write_text("".join(lines))
    (tmp_path / "out1" / "data.json").unlink()
    merged = merge([tmp_path / "out1", tmp_path / "out0"])
    assert {r.scale for r in merged.rows if r.encoder == "m1"} == {1.0}
    [report] = merged.reports.values()
    assert {m.encoder for m in report.means if not m.floor} == {"m0"} and report.classes == ()
    merged.save_html(tmp_path / "merged.html")
    assert "class 0" in (tmp_path / "merged.html").read_text("utf-8")


def test_several_contracts_are_refused_unless_asked_for_and_then_marked(two, data, tiny_encoder, tmp_path):
    other = {**OPTIONS, "scale_protocol": "test-native", "scales": (1,)}
    evaluate([tmp_path / "m0"], data, out=tmp_path / "other", floors=False, **other)
    folders = [tmp_path / "out0", tmp_path / "out1", tmp_path / "other"]
    with pytest.raises(RecipeError, match=r"2 contracts: resize.scale_protocol, resize.scales differ"):
        merge(folders)
    merged = merge(folders, mixed=True)
    assert set(merged.contracts) == {"A", "B"}
    assert merged.differing["resize.scale_protocol"] == ["test-resized", "test-native"]
    assert all(r.encoder.endswith(f" [{r.mark}]") for r in merged.rows)
    assert {r.contract for r in merged.rows if r.mark == "B"} == {merged.contracts["B"].hash}
    assert {(p.encoder[-3:], p.against[-3:]) for p in merged.pairs} == {("[A]", "[A]")}
    for kind in ("html", "markdown", "csv"):
        getattr(merged, f"save_{kind}")(tmp_path / kind)
    for kind in ("html", "markdown"):
        text = (tmp_path / kind).read_text("utf-8")
        assert "Mixed: these scores have 2 contracts" in text and "test-native" in text
    lines = list(csv.DictReader((tmp_path / "csv").open()))
    assert len(lines) == len(merged.rows) and {line["mark"] for line in lines} == {"A", "B"}
    json.dumps(merged.to_dict(), allow_nan=False)


def test_two_models_of_one_name_keep_apart(two, data, tmp_path):
    shutil.copytree(tmp_path / "m1", tmp_path / "elsewhere" / "m0")
    evaluate([tmp_path / "elsewhere" / "m0"], data, out=tmp_path / "again", **OPTIONS)
    merged = merge([tmp_path / "out0", tmp_path / "again"])
    assert len({r.encoder for r in merged.rows if not r.floor}) == 2
    assert len({m.name for m in merged.models}) == 2


def test_what_is_no_folder_of_results_is_refused(two, tmp_path):
    with pytest.raises(DataError, match="no folder of results"):
        merge([tmp_path / "m0"])
    for file in (tmp_path / "out0" / "answers").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match="lost or damaged"):
        merge([tmp_path / "out0"])


def test_the_verb_merges_and_refuses_as_the_library_does(two, tmp_path):
    app = typer.Typer()
    command.register(app)
    folders = f"{tmp_path}/out0 {tmp_path}/out1"
    result = CliRunner().invoke(app, f"--merge {folders} --json {tmp_path}/a.json --report {tmp_path}/a.html")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "a.json").read_text())["mixed"] is False
    assert "Models against each other" in (tmp_path / "a.html").read_text("utf-8")
    for wrong in (folders, f"{tmp_path}/m0 --data x --mixed"):
        with pytest.raises(EcotoneError, match="needs --data"):
            CliRunner().invoke(app, wrong, catch_exceptions=False)


def block() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 8, stride=8), nn.ReLU())


def test_a_plain_module_is_scored_resumed_and_has_its_random_init_as_a_floor(data, tiny_encoder, tmp_path):
    spec = tiny_encoder(patch=8).spec

    def plain() -> Foreign:
        torch.manual_seed(7)
        return Foreign(spec, build=block, width=6).eval()

    first = evaluate([plain()], data, out=tmp_path / "out", **OPTIONS)
    again = evaluate([plain()], data, out=tmp_path / "out", **OPTIONS)
    assert first.to_json() == again.to_json()
    rows = {r.encoder: r for r in first.rows if r.protocol == "knn" and r.scale == 1}
    assert rows["foreign"].settings["features"] == 6 and rows["random init"].value != rows["foreign"].value
    assert first.models[0].budget.gflop == pytest.approx(2 * 4 * 6 * 3 * 64 / 1e9)
