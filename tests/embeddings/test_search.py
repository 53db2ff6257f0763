from __future__ import annotations

import json
from importlib import import_module

import geopandas
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecotone.embeddings import parse_point, search, write_geojson
from ecotone.embeddings.places import row_at
from ecotone.errors import DataError


def brute_force(vectors, query, centre=True):
    mean = vectors.astype(np.float64).mean(0) if centre else 0
    a, b = vectors - mean, query - mean
    return 1 - a @ b / np.linalg.norm(a, axis=1) / np.linalg.norm(b)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.integers(1, 30), st.booleans())
def test_search_is_exact(store_of, monkeypatch, seed, k, centre):
    monkeypatch.setattr(import_module("ecotone.embeddings.scan"), "BLOCK", 7)
    random = np.random.default_rng(seed)
    store = store_of((random.normal(size=(20, 6)) + 3).astype(np.float32))
    query = random.normal(size=6).astype(np.float32)
    hits = search(store, vector=query, k=k, centre=centre)
    expected = brute_force(store.vectors, query, centre)
    assert [h.index for h in hits] == list(np.argsort(expected)[:k])
    assert [h.distance for h in hits] == pytest.approx(sorted(expected)[:k], abs=1e-5)
    assert [h.rank for h in hits] == list(range(1, min(k, 20) + 1))


def test_a_point_finds_the_rows_that_resemble_its_own_but_not_itself(store_of):
    vectors = np.eye(20, dtype=np.float32)
    vectors[13] = vectors[6] + 0.01
    store = store_of(vectors)
    lon, lat = store.geometries([6])[0].representative_point().coords[0]
    assert row_at(store, (lon, lat)) == 6
    assert search(store, point=(lon, lat), k=1)[0].index == 13
    whole = search(store, point=(lon, lat), k=50, exclude_self=False)
    assert whole[0].index == 6 and whole[0].distance == pytest.approx(0, abs=1e-6) and len(whole) == 20


def test_ties_go_to_the_earlier_row(store_of):
    vectors = np.tile(np.eye(4, dtype=np.float32), (5, 1))
    assert [h.index for h in search(store_of(vectors), vector=vectors[1], k=3)] == [1, 5, 9]


def test_overlapping_footprints_give_the_row_whose_centre_is_nearest(store_of):
    store = store_of(np.random.default_rng(0).normal(size=(63, 3)), cell=20, step=10)
    for index in (0, 17, 40):
        centre = store.geometries([index])[0].centroid
        assert row_at(store, (centre.x, centre.y)) == index


def test_a_point_outside_names_the_bounds(store_of):
    store = store_of()
    west, south, _, _ = store.bounds
    with pytest.raises(DataError, match=f"longitude {west:.6g} to .*latitude {south:.6g} to .*LON,LAT"):
        search(store, point=(south, west))


def test_a_dropped_place_says_so(store_of):
    whole = store_of(name="whole.parquet")
    centre = whole.geometries([5])[0].centroid
    holed = store_of(only=[i for i in range(20) if i != 5])
    with pytest.raises(DataError, match="too few valid pixels"):
        search(holed, point=(centre.x, centre.y))


def test_queries_without_meaning_are_refused(store_of):
    store = store_of()
    with pytest.raises(DataError, match="at least 1"):
        search(store, vector=np.ones(4), k=0)
    with pytest.raises(DataError, match="another length"):
        search(store, vector=np.ones(5))
    with pytest.raises(DataError, match="either a point, a vector"):
        search(store)
    with pytest.raises(DataError, match="equals the store's mean"):
        search(store, vector=store.mean)


@pytest.mark.parametrize("text", ["", "11", "1,2,3", "a,b", "nan,1", "181,0", "0,91"])
def test_points_that_are_no_points_are_refused(text):
    with pytest.raises(DataError, match="LON,LAT"):
        parse_point(text)


def test_a_point_may_be_negative():
    assert parse_point("-70.5, -33") == (-70.5, -33.0)


def test_hits_are_written_as_geojson(tmp_path, store_of):
    store = store_of()
    hits = search(store, vector=store.vectors[3], k=4)
    write_geojson(hits, tmp_path / "hits.geojson")
    table = geopandas.read_file(tmp_path / "hits.geojson")
    assert list(table["rank"]) == [1, 2, 3, 4] and table.crs == "EPSG:4326"
    assert table.geometry[0].equals_exact(hits[0].geometry, 1e-12)
    assert json.loads((tmp_path / "hits.geojson").read_text())["features"][0]["id"] == "scene.tif#0,60"
