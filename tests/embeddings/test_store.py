from __future__ import annotations

import json

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecotone.embeddings import Rows, StoreWriter, open_store, writer
from ecotone.embeddings.schema import FACTS_KEY
from ecotone.errors import DataError


def test_geopandas_reads_what_was_written(store_of):
    store = store_of()
    table = geopandas.read_parquet(store.path)
    assert table.crs == "EPSG:4326" and table.geometry.name == "geometry"
    assert table.geometry.is_valid.all() and len(table) == 20
    assert list(table.id[:2]) == ["scene.tif#0,0", "scene.tif#0,20"] and table.id.is_unique
    assert np.array_equal(np.stack(list(table.vector)), store.vectors)
    assert np.array_equal(table.geometry.bounds.to_numpy(), store.boxes)
    assert str(table.time.dtype).endswith("UTC]") and table.time.isna().all()
    assert tuple(table.total_bounds) == store.bounds


def test_the_bbox_covering_lets_readers_skip_rows(store_of):
    store = store_of()
    wanted = store.geometries([7])[0]
    inner = tuple(wanted.buffer(-1e-5).bounds)
    ids = set(geopandas.read_parquet(store.path, bbox=inner).id)
    assert store.rows([7])[0]["id"] in ids and len(ids) < len(store) / 2


def test_geo_metadata_follows_geoparquet_1_1(store_of):
    store = store_of()
    geo = json.loads(pq.read_metadata(store.path).metadata[b"geo"])
    column = geo["columns"][geo["primary_column"]]
    assert geo["version"] == "1.1.0" and column["encoding"] == "WKB" and column["geometry_types"] == ["Polygon"]
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 4326}
    assert column["covering"]["bbox"]["ymax"] == ["bbox", "ymax"]
    assert tuple(column["bbox"]) == store.bounds
    schema = pq.read_schema(store.path)
    assert json.loads(schema.metadata[b"geo"])["columns"]["geometry"]["covering"] == column["covering"]
    assert schema.field("vector").type == pa.list_(pa.float32(), 4)


def test_rows_stream_through_many_row_groups_in_order(store_of, monkeypatch):
    monkeypatch.setattr(writer, "GROUP_BYTES", 0)  # the floor of 256 rows then applies
    vectors = np.random.default_rng(1).normal(size=(2500, 3)).astype(np.float32)
    store = store_of(vectors, shape=(500, 500), cell=10)
    blocks = list(store.blocks())
    assert [len(b.row) for b in blocks] == [256] * 9 + [196]
    assert np.array_equal(np.concatenate([b.vectors for b in blocks]), vectors)
    assert np.array_equal(store.vectors, vectors)
    assert store.mean == pytest.approx(vectors.mean(0), abs=1e-6)


def test_facts_return_as_they_were_written(store_of, facts_of):
    assert store_of(gsd=None, gsd_source="unknown").facts == facts_of(gsd=None, gsd_source="unknown")


def test_values_that_are_not_finite_are_never_stored(tmp_path, facts_of):
    with StoreWriter(tmp_path / "x.parquet", facts_of()) as out, pytest.raises(DataError, match="not finite"):
        out.write(Rows(np.array([0]), np.array([0]), np.ones(1), np.full((1, 4), np.nan, np.float32)))
    assert out.rows == 0


def test_a_missing_store_says_how_to_make_one(tmp_path):
    with pytest.raises(DataError, match="ecotone embed"):
        open_store(tmp_path / "none.parquet")
    with pytest.raises(DataError, match="no embeddings"):
        open_store(tmp_path)


def test_a_truncated_or_foreign_file_is_refused(tmp_path, store_of):
    whole = store_of().path.read_bytes()
    for size in (0, 10, len(whole) // 2):
        broken = tmp_path / "broken.parquet"
        broken.write_bytes(whole[:size])
        with pytest.raises(DataError, match="not a readable Parquet file"):
            open_store(broken)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "foreign.parquet")
    with pytest.raises(DataError, match="holds no embeddings"):
        open_store(tmp_path / "foreign.parquet")


def test_another_schema_version_is_refused_by_name(tmp_path, store_of):
    table = pq.read_table(store_of().path)
    metadata = dict(table.schema.metadata)
    metadata[FACTS_KEY] = metadata[FACTS_KEY].replace(b'"schema_version":1', b'"schema_version":2')
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "new.parquet")
    with pytest.raises(DataError, match=r"schema_version.*expected schema version 1"):
        open_store(tmp_path / "new.parquet")
