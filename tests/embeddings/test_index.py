from __future__ import annotations

import json
import os
import shutil
import signal
import time
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecotone.embeddings import IndexWarning, build_index, delete_source, open_store, scan, search
from ecotone.embeddings.index_codes import Plane, encode, margin, random_rotation, turned_to_head
from ecotone.embeddings.index_facts import index_folder
from ecotone.embeddings.index_graph import GraphScan
from ecotone.embeddings.index_scan import IndexScan
from ecotone.embeddings.scan import FloatScan, nearest
from ecotone.errors import DataError

SLOW = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def vectors_of(seed, n=20, dimension=16, latent=4):
    """Vectors near a few directions with a large common part, as encoders give them."""
    random = np.random.default_rng(seed)
    spread = random.normal(size=(n, latent)) @ np.random.default_rng(0).normal(size=(latent, dimension))
    return (spread + 0.3 * random.normal(size=(n, dimension)) + 3).astype(np.float32)


def brute_force(store, direction, k, centre=True, allowed=None):
    rows = store.vectors.astype(np.float64) - (store.mean if centre else 0)
    cosines = rows @ direction / np.linalg.norm(rows, axis=1).clip(1e-12)
    if allowed is not None:
        cosines[~allowed] = -np.inf
    order = np.lexsort((np.arange(len(cosines)), -cosines))[:k]
    order = order[np.isfinite(cosines[order])]
    return order, cosines[order]


def same(store, k=7):
    """Whether a search through the opened store equals one by hand."""
    for row in range(0, len(store), 9):
        query = store.vectors[row] + 0.1
        wanted = (query - store.mean) / np.linalg.norm(query - store.mean)
        rows, cosines = brute_force(store, wanted, k)
        hits = search(store, vector=query, k=k)
        assert [h.index for h in hits] == rows.tolist()
        assert [h.distance for h in hits] == pytest.approx(1 - cosines, abs=1e-6)


@pytest.mark.parametrize("dimension", [1, 7, 256])
def test_integer_products_are_exact(dimension):
    codes = np.random.default_rng(0).integers(-127, 128, size=(50, dimension), dtype=np.int8)
    expected = codes[:5].astype(int) @ codes.astype(int).T
    assert np.array_equal(Plane(codes).products(codes[:5]), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 80), st.floats(0, 0.5))
def test_a_head_and_the_norms_of_the_rest_bound_every_cosine(seed, dimension, decay):
    random = np.random.default_rng(seed)
    rows = random.normal(size=(300, dimension)) * np.exp(-decay * np.arange(dimension)) @ random_rotation(dimension)
    rows = (rows / np.linalg.norm(rows, axis=1)[:, None]).astype(np.float32)
    rotation, head = turned_to_head(rows)
    assert rotation @ rotation.T == pytest.approx(np.eye(dimension), abs=1e-5)
    assert head == dimension or (head <= dimension / 2 and head % 16 == 0)
    found = encode(rows, rotation, head)
    assert np.mean(np.square(found.rest)) <= 0.1 + 1e-4
    near = found.codes[:, :head] * found.scale[:, None]
    bounds = near @ near.T + found.rest[:, None] * found.rest
    worst = float(found.scale.max())
    assert (rows @ rows.T <= bounds + margin(worst, 1.1, worst)).mean() > 0.9999


@settings(max_examples=40, **SLOW)
@given(st.integers(0, 10**6), st.integers(1, 40), st.booleans(), st.booleans(), st.sampled_from([1, 6]))
def test_a_search_through_an_index_is_exact(folder_of, tmp_path, monkeypatch, seed, k, centre, filtered, queries):
    monkeypatch.setattr("ecotone.embeddings.scan.BLOCK", 16)
    monkeypatch.setattr("ecotone.embeddings.index_scan.BLOCK", 16)
    monkeypatch.setattr("ecotone.embeddings.scan.DIRECT", 0)
    random, name = np.random.default_rng(seed), f"s{seed}"
    shutil.rmtree(tmp_path / name, ignore_errors=True)
    store = folder_of(
        {s: vectors_of(random.integers(99), dimension=int(random.choice([3, 16, 33, 64]))) for s in "a"}, name=name
    )
    build_index(store)
    assert isinstance(store.scan, IndexScan)
    directions = random.normal(size=(queries, store.facts.dimension))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    allowed = random.random(len(store)) < 0.5 if filtered else None
    for direction, (rows, cosines) in zip(
        directions, nearest(store.scan, directions, k, centre=centre, allowed=allowed), strict=True
    ):
        expected = brute_force(store, direction, k, centre, allowed)
        assert rows.tolist() == expected[0].tolist()
        assert cosines == pytest.approx(expected[1], abs=1e-6)


@settings(max_examples=6, **SLOW)
@given(st.lists(st.sampled_from(["add", "delete", "change"]), min_size=1, max_size=4), st.integers(0, 10**6))
def test_an_index_follows_its_store_through_any_changes(folder_of, tmp_path, steps, seed):
    shutil.rmtree(tmp_path / "store", ignore_errors=True)
    random = np.random.default_rng(seed)
    store = folder_of({"m": vectors_of(seed), "c": vectors_of(seed + 1)})
    build_index(store)
    for step in steps:
        names = [p.path.stem for p in store.parts]
        if step == "delete" and len(names) > 1:
            delete_source(store.path, random.choice(names))
            store = open_store(store.path)
        else:
            name = random.choice(names) if step == "change" else random.choice(list("abdefghz"))
            store = folder_of({name: vectors_of(int(random.integers(10**6))) + random.integers(3)})
        with pytest.warns(IndexWarning, match="stale") as caught:
            same(store)
        assert len(caught) == 1
        build_index(store)
        store = open_store(store.path)
        assert isinstance(store.scan, IndexScan)
        same(store)


def test_only_new_sources_are_read_and_gone_ones_dropped(folder_of):
    build_index(folder_of({"b": vectors_of(0), "c": vectors_of(1)}))
    store = folder_of({"a": vectors_of(2)})
    delete_source(store.path, "c")
    store = open_store(store.path)
    summary = build_index(store)
    assert (summary.added, summary.kept, summary.removed) == (1, 1, 1)
    files = {f.name for f in (index_folder(store.path) / "1").iterdir()}
    assert files == summary.facts.files and "2.vectors.npy" not in files
    again = build_index(store)
    assert (again.added, again.kept, again.removed) == (0, 2, 0)
    same(open_store(store.path))


def test_a_mean_that_moved_far_makes_all_codes_anew(folder_of):
    build_index(folder_of({"a": vectors_of(0)}))
    summary = build_index(folder_of({"b": vectors_of(1) + 40}))
    assert summary.kept == 0 and summary.facts.generation == 2
    assert not (summary.folder / "1").exists()
    same(open_store(summary.folder.parent))


def test_the_index_of_one_file_lies_beside_it(store_of):
    store = store_of(vectors_of(0))
    summary = build_index(store)
    assert summary.folder == store.path.with_suffix(".index") and summary.facts.recall_at_10 == 1
    assert isinstance(store.scan, IndexScan)
    same(store)


def test_embeddings_of_another_model_are_never_mixed_in(store_of):
    build_index(store_of(vectors_of(0)))
    other = store_of(vectors_of(1), model_hash="n" * 16)
    with pytest.warns(IndexWarning, match="other embeddings: model_hash m+ instead of n+"):
        assert isinstance(other.scan, FloatScan)
    with pytest.warns(IndexWarning, match="made anew"):
        summary = build_index(other)
    assert summary.kept == 0 and summary.facts.model_hash == "n" * 16
    same(open_store(other.path))


DAMAGES = {
    "vectors cut": ("1.vectors.npy", lambda b: b[:-8]),
    "codes cut": ("1.codes.npy", lambda b: b[:100]),
    "a code flipped": ("1.codes.npy", lambda b: b[:-1] + bytes([b[-1] ^ 1])),
    "scales gone": ("1.scales.npy", None),
    "scales empty": ("1.scales.npy", lambda b: b""),
    "state flipped": ("1.state.npz", lambda b: b[:900] + bytes([b[900] ^ 255]) + b[901:]),
    "state cut": ("1.state.npz", lambda b: b[:-60]),
    "facts cut": ("../index.json", lambda b: b[:-20]),
    "facts of a later version": ("../index.json", lambda b: b.replace(b'"format_version": 2', b'"format_version": 3')),
    "a pickle instead of vectors": ("1.vectors.npy", lambda b: b"\x80\x04K\x01."),
    "graph cut": ("1.usearch", lambda b: b[:-1]),
    "graph gone": ("1.usearch", None),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_named_not_used_and_made_anew(store_of, damage):
    name, change = DAMAGES[damage]
    store = store_of(vectors_of(0))
    build_index(store, kind="hnsw" if "graph" in damage else "exact")
    path = index_folder(store.path) / "1" / name
    content = path.read_bytes()
    path.unlink() if change is None else path.write_bytes(change(content))
    with pytest.warns(IndexWarning, match=r"(damaged|cannot be read).*Searching without it"):
        assert isinstance(store.scan, FloatScan)
    same(store)
    with pytest.warns(IndexWarning, match="made anew"):
        build_index(store)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(open_store(store.path).scan, IndexScan)


def test_a_graph_finds_nearly_all_and_the_codes_answer_what_it_cannot(folder_of, monkeypatch):
    monkeypatch.setattr("ecotone.embeddings.scan.DIRECT", 0)
    vectors = [vectors_of(i, 2500, dimension=32, latent=8) for i in range(3)]
    store = folder_of({"a": vectors[0], "b": vectors[1]}, shape=(1000, 1000))
    summary = build_index(store, kind="hnsw")
    assert summary.facts.kind == "hnsw" and summary.facts.recall_at_10 >= 0.95 and summary.facts.expansion == 64
    delete_source(store.path, "a")
    store = folder_of({"c": vectors[2]}, shape=(1000, 1000))
    store = open_store(store.path)
    updated = build_index(store, kind="hnsw")
    assert (updated.added, updated.kept, updated.removed) == (1, 1, 1) and updated.facts.recall_at_10 >= 0.95
    found = open_store(store.path).scan
    assert isinstance(found, GraphScan)
    directions = found.units(np.arange(0, 5000, 250))
    for allowed in (None, np.arange(5000) % 2 == 0, np.arange(5000) % 100 == 0):
        shares = []
        for direction, (rows, cosines) in zip(directions, nearest(found, directions, 10, allowed=allowed), strict=True):
            expected = brute_force(store, direction, 10, allowed=allowed)
            shares.append(np.isin(rows, expected[0]).mean())
            assert len(rows) == 10 and (allowed is None or allowed[rows].all())
            assert cosines == pytest.approx(store_cosines(store, direction)[rows], abs=1e-6)
        assert np.mean(shares) >= (1 if allowed is not None and allowed.mean() < 0.05 else 0.95)
    hits = search(open_store(store.path), vector=store.vectors[7], k=10, exact=True)
    wanted = store.vectors[7] - store.mean
    assert [h.index for h in hits] == brute_force(store, wanted / np.linalg.norm(wanted), 10)[0].tolist()


def store_cosines(store, direction):
    rows = store.vectors - store.mean
    return rows @ direction / np.linalg.norm(rows, axis=1)


def test_rows_equal_to_the_mean_and_equal_rows_keep_their_order(store_of):
    vectors = np.tile(
        np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0.25] * 4, [0, 0, 1, 0], [0, 0, 0, 1]], np.float32), (4, 1)
    )
    store = store_of(vectors)
    build_index(store)
    assert [h.index for h in search(store, vector=vectors[1], k=4)] == [1, 6, 11, 16]
    assert sorted(h.index for h in search(store, vector=vectors[1], k=8)[4:]) == [2, 7, 12, 17]


def test_a_build_that_is_killed_at_any_moment_leaves_right_answers(folder_of, tmp_path):
    folder_of({f"s{i}": vectors_of(i) for i in range(3)})
    build_index(open_store(tmp_path / "store"))
    store = folder_of({f"t{i}": vectors_of(9 + i) + 50 * (i == 3) for i in range(4)})  # the mean moves far: all anew
    for delay in np.linspace(0.002, 0.12, 12):
        child = os.fork()
        if not child:
            build_index(open_store(store.path))
            os._exit(0)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IndexWarning)
            same(open_store(store.path))
    summary = build_index(open_store(store.path))
    home = summary.folder / str(summary.facts.generation)
    assert {f.name for f in home.iterdir()} == summary.facts.files
    assert {f.name for f in summary.folder.iterdir()} == {"index.json", ".lock", home.name}
    store = open_store(store.path)
    assert isinstance(store.scan, IndexScan)
    same(store)


def test_facts_of_an_index_say_what_it_covers(folder_of):
    store = folder_of({"a": vectors_of(0), "b": vectors_of(1)})
    build_index(store)
    facts = json.loads((index_folder(store.path) / "index.json").read_text())
    assert [(s["name"], s["rows"]) for s in facts["sources"]] == [("a", 20), ("b", 20)]
    assert facts["model_hash"] == store.facts.model_hash and facts["dtype"] == "float32" and facts["sampled"] == 40


def test_a_build_tells_of_every_row_of_every_step(folder_of):
    told = []
    build_index(folder_of({"a": vectors_of(0)}), kind="hnsw", on_progress=lambda *step: told.append(step))
    assert [(t[0], t[1]) for t in told if t[1] == t[2]] == [
        (what, n) for what, n in (("copying", 20), ("rounding", 20), ("linking", 20), ("measuring", 100))
    ]
    told.clear()
    build_index(folder_of({"b": vectors_of(1)}), kind="hnsw", on_progress=lambda *step: told.append(step))
    assert max(total for what, _, total in told if what == "linking") == 20  # only what is new


def test_stored_in_fewer_bytes_an_index_still_answers_as_the_store_does(folder_of):
    for dtype in ("float16", "int8"):
        store = folder_of({"a": vectors_of(0), "b": vectors_of(1)}, name=dtype, dtype=dtype)
        build_index(store)
        same(store)


def test_an_index_that_cannot_be_written_says_so(store_of, tmp_path):
    store = store_of(vectors_of(0))
    if os.getuid() == 0:
        store.path.with_suffix(".index").write_text("a file in the way")
    else:
        tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="cannot write"):
        build_index(store)
    tmp_path.chmod(0o700)


def test_scans_use_as_many_threads_as_given(store_of, monkeypatch):
    monkeypatch.setattr("ecotone.embeddings.scan.BLOCK", 3)
    monkeypatch.setattr("ecotone.embeddings.index_scan.BLOCK", 3)
    store = store_of(vectors_of(0))
    build_index(store)
    store.scan.threads = 2
    assert scan.BLOCK == 3 and len(store.scan.spans) == 7
    same(store)
