"""ecotone weights: list, download, import, verify, export, and its model in other verbs."""

from __future__ import annotations

import hashlib
import json

import pytest
import yaml
from typer.testing import CliRunner

from ecotone.cli import app
from ecotone.errors import CheckpointError
from ecotone.weights import load_model


def run(*words):
    result = CliRunner().invoke(app, ["weights", *map(str, words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def figures(tmp_path):
    def figures(*words):
        run(*words, "--json", tmp_path / "out.json")
        return json.loads((tmp_path / "out.json").read_text())

    return figures


@pytest.fixture
def listed(server, official_file, tmp_path, monkeypatch):
    content = official_file.read_bytes()
    server.files["/small.pth"] = content
    row = {
        "name": "small", "url": f"{server.url}/small.pth", "sha256": hashlib.sha256(content).hexdigest(),
        "method": "scale-mae", "licence": "CC0", "trained_on": "noise", "heads": 2, "decoder_heads": 2,
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump([row]))
    monkeypatch.setenv("ECOTONE_CATALOGUE", str(tmp_path / "mine.yaml"))
    return row


def test_list_shows_what_is_published_and_what_is_cached(figures, listed):
    rows = {r["name"]: r for r in figures("list")}
    assert len(rows) == 19 and rows["small"]["url"] == listed["url"] and not rows["small"]["cached"]
    assert rows["scale-mae-vit-large-mirror"]["size"] == 1291863793
    load_model("small")
    assert {r["name"] for r in figures("list") if r["cached"]} == {"small"}
    printed = run("list").output
    assert "CC-BY-NC-4.0" in printed and "small" in printed


def test_download_import_verify_and_export_follow_each_other(figures, listed, tmp_path):
    got = figures("download", "small", "--out", tmp_path / "files")
    assert got["file"] == str(tmp_path / "files" / "small.pth") and got["licence"] == "CC0"
    report = figures(
        "import", got["file"], "--method", "scale-mae", "--out", tmp_path / "model", "--heads", 2, "--decoder-heads", 2
    )
    assert report["encoder"] == {"filled": 29, "expected": 29} and report["sha256"] == listed["sha256"]
    found = figures("verify", tmp_path / "model", "--against", got["file"])
    assert found["hash_known"] and found["compared"] == 90 and found["pooled"] == [2, 32]
    made = figures("export", tmp_path / "model", "--out", tmp_path / "x.safetensors")
    assert (tmp_path / "x.safetensors").exists() and made["format"] == "safetensors"


def test_a_catalogue_name_is_a_model(figures, listed):
    assert figures("verify", "small")["folder"].endswith("small")


def test_what_an_import_leaves_out_is_printed(official_file, tmp_path):
    words = ("import", official_file, "--method", "scale-mae", "--out", tmp_path / "m", "--heads", 2, "--encoder-only")
    printed = " ".join(run(*words).output.split())
    assert "encoder: 29 of 29 tensors filled" in printed and "decoder: none taken" in printed
    assert "left out: 2 tensors, such as pos_embed: no forward pass reads it" in printed


def test_allow_may_be_given_several_times(official, tmp_path):
    import torch

    torch.save({**official, "a": torch.ones(1), "b.c": torch.ones(1)}, tmp_path / "x.pth")
    words = ("import", tmp_path / "x.pth", "--method", "scale-mae", "--out", tmp_path / "m", "--heads", 2)
    with pytest.raises(CheckpointError, match="1 tensors that scale-mae does not know; found a"):
        run(*words, "--decoder-heads", 2, "--allow", "b.*")
    assert "left out as asked: a, b.c" in run(*words, "--decoder-heads", 2, "--allow", "b.*", "--allow", "a").output
