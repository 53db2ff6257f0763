"""``ecotone index check``: damage is named, file by file, and mended by what the sentence says."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from typer.testing import CliRunner

from ecotone.cli import app
from ecotone.embeddings import IndexWarning, build_index, check_store, open_store
from ecotone.embeddings.index_facts import index_folder
from ecotone.embeddings.scan import FloatScan
from ecotone.errors import DataError


def vectors(seed):
    return np.random.default_rng(seed).normal(size=(20, 16)).astype(np.float32)


def flip(path, at):
    """Flip one bit, as disks and memory do."""
    content = bytearray(path.read_bytes())
    content[at] ^= 8
    path.write_bytes(content)


@pytest.fixture
def store(folder_of):
    return folder_of({"a": vectors(0), "b": vectors(1)})


def run(path, *words):
    return CliRunner().invoke(app, ["index", "check", str(path), *words])


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_a_flipped_bit_in_any_file_is_named_and_the_mend_mends(store, kind):
    facts = build_index(store, kind=kind).facts
    home = index_folder(store.path) / str(facts.generation)
    assert check_store(store.path).damaged == () and len(facts.files) == 7 + (kind == "hnsw")
    for name in sorted(facts.files):
        flip(home / name, -5 if name != "1.state.npz" else 700)
    found = check_store(store.path).damaged
    assert [s.split(" is damaged")[0] for s in found] == [str(home / name) for name in sorted(facts.files)]
    assert all(f"ecotone index build {store.path}" in s for s in found)
    with pytest.warns(IndexWarning, match="made anew"):
        build_index(store, kind=kind)
    assert check_store(store.path).damaged == ()


def test_an_index_with_a_damaged_vector_is_made_anew(store):
    build_index(store)
    flip(index_folder(store.path) / "1" / "2.vectors.npy", -5)
    assert len(check_store(store.path).damaged) == 1
    with pytest.warns(IndexWarning, match=r"2\.vectors\.npy is damaged.*made anew"):
        build_index(store)
    assert check_store(store.path).damaged == ()


def test_a_graph_with_a_flipped_bit_is_never_searched(store):
    build_index(store, kind="hnsw")
    flip(index_folder(store.path) / "1" / "1.usearch", 1000)
    with pytest.warns(IndexWarning, match=r"1\.usearch is damaged.*Searching without it"):
        assert isinstance(open_store(store.path).scan, FloatScan)


@pytest.mark.parametrize("at", [2000, -400])
def test_a_source_with_a_flipped_bit_does_not_hide_another(store, at):
    for name in "ab":
        flip(store.path / "sources" / f"{name}.parquet", at)
    found = check_store(store.path).damaged
    assert [f"{name}.parquet" in s for name, s in zip("ab", found, strict=True)] == [True, True]


def test_the_command_ends_with_one_and_a_line_for_each_file(store, tmp_path):
    build_index(store)
    whole = run(store.path, "--json", "-")
    assert whole.exit_code == 0 and json.loads(whole.stdout)["damaged"] == []
    assert "2 sources and 8 files of its index: all whole" in whole.stderr
    flip(store.path / "sources" / "b.parquet", 2000)
    flip(index_folder(store.path) / "1" / "1.scales.npy", -1)
    damaged = run(store.path)
    assert damaged.exit_code == 1 and damaged.stderr.count("Damaged:") == 2
    assert "run the same ecotone embed again" in damaged.stderr and "Traceback" not in damaged.stderr
    (store.path / "store.json").write_text("{")
    assert run(store.path).stderr.count("Damaged:") == 3
    (index_folder(store.path) / "index.json").write_text("{")
    assert run(store.path).stderr.count("Damaged:") == 3


def test_facts_that_a_flipped_bit_made_disagree_are_damage(store):
    facts = store.path / "store.json"
    facts.write_text(facts.read_text().replace("m" * 16, "m" * 15 + "l"))
    assert run(store.path).exit_code == 1
    (sentence,) = check_store(store.path).damaged
    assert "do not compare with those of the store: model_hash differ" in sentence


def test_a_stale_index_is_no_damage_and_one_file_needs_no_index(folder_of, store_of, tmp_path):
    build_index(folder_of({"a": vectors(0)}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = check_store(folder_of({"b": vectors(1)}).path)
    assert not found.damaged and "1 new or changed sources" in (found.stale or "") and found.sources == 2
    alone = check_store(store_of(vectors(0)).path)
    assert (alone.sources, alone.index_files, alone.damaged, alone.stale) == (1, 0, (), None)
    with pytest.raises(DataError, match="no embeddings at"):
        check_store(tmp_path / "none")
