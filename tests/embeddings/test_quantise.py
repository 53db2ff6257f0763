from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.neighbors import NearestNeighbors

from ecotone.embeddings import Rows, StoreWriter, fidelity, open_store
from ecotone.embeddings.fidelity import FidelityMeter, neighbour_recall, pooled
from ecotone.embeddings.quantise import dequantise, quantise
from ecotone.errors import DataError

TINY = float(np.finfo(np.float32).tiny)
values = st.floats(-(2.0**100), 2.0**100, width=32)
matrices = arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=values)


@given(matrices)
def test_int8_is_off_by_half_a_scale_at_most_and_keeps_signs_zeros_and_the_largest_number(vectors):
    stored, scale = quantise(vectors, "int8")
    back = dequantise(stored, scale)
    assert stored.dtype == np.int8 and scale.dtype == np.float32 and back.dtype == np.float32
    largest = np.abs(vectors).max(1)
    assert np.allclose(scale, largest / 127, rtol=1e-6, atol=TINY)
    off = np.abs(back.astype(np.float64) - vectors)
    assert (off <= 0.5 * scale[:, None] * (1 + 1e-4) + TINY).all()
    assert (np.sign(stored) * np.sign(vectors) >= 0).all() and not back[vectors == 0].any()
    assert np.allclose(np.abs(back).max(1), largest, rtol=1e-6, atol=TINY)


@given(matrices)
def test_int8_of_negated_or_doubled_vectors_is_negated_or_has_the_double_scale(vectors):
    vectors = np.where(np.abs(vectors) < 2.0**-60, 0, vectors).astype(np.float32)
    stored, scale = quantise(vectors, "int8")
    assert np.array_equal(quantise(-vectors, "int8")[0], -stored)
    doubled = quantise(2 * vectors, "int8")
    assert np.array_equal(doubled[0], stored) and np.array_equal(doubled[1], 2 * scale)


@given(arrays(np.float32, (3, 4), elements=st.floats(-65504, 65504, width=32)))
def test_float16_is_off_by_its_last_bit_at_most(vectors):
    stored, scale = quantise(vectors, "float16")
    assert stored.dtype == np.float16 and scale is None
    assert (np.abs(dequantise(stored, scale) - vectors) <= np.maximum(np.abs(vectors) * 2.0**-11, 2.0**-25)).all()


def test_vectors_too_large_for_float16_are_refused_with_the_mend():
    with pytest.raises(DataError, match=r"found a value of 1e\+06.*float32 or int8"):
        quantise(np.array([[1e6]], np.float32), "float16")


def test_recall_agrees_with_scikit_learn_on_centred_vectors():
    random = np.random.default_rng(0)
    before = random.normal(size=(200, 8)).astype(np.float32)
    after = before + random.normal(size=before.shape).astype(np.float32) / 3
    near = []
    for vectors in (before, after):
        own = NearestNeighbors(n_neighbors=11, metric="cosine").fit(vectors - vectors.mean(0))
        near.append(own.kneighbors(vectors - vectors.mean(0), return_distance=False)[:, 1:])
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(*near, strict=True)]
    assert 0.2 < np.mean(shared) < 0.9
    assert neighbour_recall(before, after, 10) == pytest.approx(np.mean(shared), abs=1e-3)
    assert neighbour_recall(before, before, 10) == 1
    assert neighbour_recall(before[:11], after[:11], 10) is None


def test_equal_rows_do_not_lower_the_recall():
    vectors = np.repeat(np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32), 20, 0)
    assert neighbour_recall(vectors, dequantise(*quantise(vectors, "int8")), 10) == 1


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_a_file_says_what_its_type_lost(store_of, monkeypatch, dtype):
    monkeypatch.setattr(fidelity, "SAMPLE", 100)
    vectors = np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32)
    store = store_of(vectors, shape=(200, 200), cell=10, dtype=dtype)
    found = store.parts[0].facts.fidelity
    length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(store.vectors, axis=1)
    assert found.mean_cosine == pytest.approx(((vectors * store.vectors).sum(1) / length).mean(), abs=1e-6)
    assert 0.999 < found.mean_cosine < 1 and (found.rows, found.sample) == (400, 100)
    assert found.recall_at_10 == neighbour_recall(vectors[::4], store.vectors[::4], 10)
    assert store_of(vectors, shape=(200, 200), cell=10).parts[0].facts.fidelity is None


def test_figures_of_several_sources_are_weighted_by_their_rows():
    meters = [FidelityMeter(50), FidelityMeter(20), FidelityMeter(5)]
    random, whole = np.random.default_rng(0), FidelityMeter(75)
    for meter, n in zip(meters, (50, 20, 5), strict=True):
        vectors = random.normal(size=(n, 4)).astype(np.float32)
        meter.add(vectors, vectors.round(1))
        whole.add(vectors, vectors.round(1))
    parts = [m.result() for m in meters]
    found = pooled(parts)
    assert found.mean_cosine == pytest.approx(whole.result().mean_cosine) and (found.rows, found.sample) == (75, 75)
    assert parts[2].recall_at_10 is None
    assert found.recall_at_10 == pytest.approx((50 * parts[0].recall_at_10 + 20 * parts[1].recall_at_10) / 70)


def test_the_space_of_int8_is_near_a_quarter(tmp_path, facts_of):
    random = np.random.default_rng(0)
    rows = Rows(np.zeros(500, int), np.arange(500), np.ones(500), random.normal(size=(500, 512)).astype(np.float32))
    size = {}
    for dtype in ("float32", "int8"):
        path = tmp_path / f"{dtype}.parquet"
        with StoreWriter(path, facts_of(dimension=512, shape=(1, 500), cell=1, dtype=dtype)) as writer:
            writer.write(rows)
        size[dtype] = path.stat().st_size
        assert len(open_store(path)) == 500
    assert size["int8"] < 0.35 * size["float32"]
