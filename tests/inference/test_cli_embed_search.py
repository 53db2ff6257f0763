from __future__ import annotations

import json

import geopandas
import pytest
from typer.testing import CliRunner

from ecotone.cli import app
from ecotone.embeddings import open_store
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


def test_a_store_of_several_scenes_is_indexed_filtered_and_searched_by_examples(vit_folder, write_tif, scene, tmp_path):
    scenes = [write_tif(scene, "one.tif"), write_tif(scene[:, ::-1], "two.tif")]
    store, json_ = tmp_path / "store", tmp_path / "x.json"
    run("embed", *scenes, "--model", vit_folder(), "--sensor", "rgb", "--out", store)
    found = run("index", "build", store, "--json", json_)
    assert "recall@10 1.0000" in found.output
    assert json.loads(json_.read_text())["rows"] == 18
    rows = open_store(store).columns(["id", "source"]).to_pylist()
    ids = [r["id"] for r in rows if r["source"].endswith("two.tif")][:3]
    run("search", store, "--positive", ids[0], "--positive", ids[1], "--negative", ids[2], "-k", 5, "--radius", 10,
        "--only-source", "two*", "--only-sensor", "rgb", "--min-valid", 0.5, "--json", json_,
        "--out", tmp_path / "h.gpkg", "--score-map", tmp_path / "maps", "--picture", tmp_path / "h.png")  # fmt: skip
    hits = json.loads(json_.read_text())["hits"]
    assert len(hits) == 5 and all(h["source"].endswith("two.tif") and 0 < h["probability"] < 1 for h in hits)
    assert not {h["id"] for h in hits} & set(ids[:2])
    assert list(geopandas.read_file(tmp_path / "h.gpkg").id) == [h["id"] for h in hits]
    assert len(list((tmp_path / "maps").glob("*.tif"))) == 2 and (tmp_path / "h.png").stat().st_size > 1000
    area = geopandas.read_file(tmp_path / "h.gpkg").geometry[0].buffer(-1e-6)
    run("search", store, "--polygon", area.wkt, "--each", "-k", 3, "--within", area.wkt, "--no-centre", "--exact",
        "--bbox", "-180,-90,180,90", "--picture", tmp_path / "p.png", "--json", json_)  # fmt: skip
    assert {h["source"].rsplit("/")[-1] for h in json.loads(json_.read_text())["hits"]} <= {"one.tif", "two.tif"}
    third = write_tif(scene[:, :, ::-1], "three.tif")
    run("embed", third, "--model", tmp_path / "model", "--sensor", "rgb", "--out", store)
    assert "is stale" in run("search", store, "--id", ids[0]).output.replace("\n", " ")
    assert "1 added, 2 kept" in run("index", "build", store).output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "one query"),
        (("--point", "1,2", "--chip", "x"), "one query"),
        (("--id", "x", "--negative", "y"), "--negative needs --positive"),
        (("--chip", "x.tif"), "--chip needs the model"),
        (("--point", "-70.5,3"), "no embedding at that point"),
        (("--point", "0,0", "--score-map", "x.tif"), "--score-map needs examples"),
        (("--id", "scene.tif#0,0", "--out", "x.csv"), "cannot be written as x.csv"),
        (("--id", "scene.tif#0,32", "--after", "2020-01-01"), "none of the 9 rows passes the filter"),
    ],
)
def test_searches_without_a_clear_query_are_refused(embedded, words, sentence):
    with pytest.raises(EcotoneError, match=sentence):
        run("search", embedded / "s.parquet", *words)
