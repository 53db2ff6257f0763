from __future__ import annotations

import json

import geopandas
import pytest
from typer.testing import CliRunner

from ecotone.cli import app
from ecotone.errors import EcotoneError


def run(*words):
    result = CliRunner().invoke(app, [str(w) for w in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def embedded(vit_folder, write_tif, scene, tmp_path):
    run("embed", write_tif(scene), "--model", vit_folder(), "--sensor", "rgb", "--out", tmp_path / "s.parquet",
        "--json", tmp_path / "e.json")  # fmt: skip
    return tmp_path


def test_embed_writes_its_files_and_figures(embedded):
    figures = json.loads((embedded / "e.json").read_text())
    assert set(figures) == {
        "rows", "dimension", "dropped", "seconds", "km2_per_s", "mpix_per_s", "gsd", "gsd_source", "conversion",
        "model_hash", "fidelity", "files",
    }  # fmt: skip
    assert (figures["rows"], figures["dimension"], figures["dropped"]) == (9, 16, 3)
    assert len(geopandas.read_parquet(figures["files"]["embeddings"])) == 9


def test_search_by_point_prints_and_writes_its_hits(embedded):
    table = geopandas.read_parquet(embedded / "s.parquet")
    place = table.geometry[0].centroid
    run("search", embedded / "s.parquet", "--point", f"{place.x},{place.y}", "-k", 3, "--json", embedded / "h.json",
        "--out", embedded / "h.geojson", "--picture", embedded / "h.png")  # fmt: skip
    hits = json.loads((embedded / "h.json").read_text())["hits"]
    assert [h["rank"] for h in hits] == [1, 2, 3] and hits[0]["id"] != table.id[0]
    assert list(geopandas.read_file(embedded / "h.geojson")["distance"]) == sorted(h["distance"] for h in hits)
    assert (embedded / "h.png").stat().st_size > 1000


def test_search_by_chip_finds_the_chip(embedded, write_tif, scene):
    chip = write_tif(scene[:, 32:64, 32:64], "chip.tif", place=None)
    run("search", embedded / "s.parquet", "--chip", chip, "--model", embedded / "model", "--sensor", "rgb",
        "--gsd", 10, "--json", embedded / "h.json", "--picture", embedded / "h.png")  # fmt: skip
    hit = json.loads((embedded / "h.json").read_text())["hits"][0]
    assert (hit["row"], hit["col"]) == (32, 32) and hit["distance"] < 1e-4


def test_a_model_that_did_not_make_the_store_is_refused(embedded, vit_folder, write_tif, scene):
    other = vit_folder("other", seed=1)
    with pytest.raises(EcotoneError, match="made with another model"):
        run("search", embedded / "s.parquet", "--chip", write_tif(scene), "--model", other, "--sensor", "rgb")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "one query"),
        (("--point", "1,2", "--chip", "x"), "one query"),
        (("--chip", "x.tif"), "--chip needs the model"),
        (("--point", "-70.5,3"), "no embedding at that point"),
    ],
)
def test_searches_without_a_clear_query_are_refused(embedded, words, sentence):
    with pytest.raises(EcotoneError, match=sentence):
        run("search", embedded / "s.parquet", *words)
