from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecotone.embeddings import Rows, StoreWriter, delete_source, open_store, writer
from ecotone.embeddings.folder import begin_folder, source_file
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
    assert geo["version"] == "1.1.0" and column["encoding"] == "WKB"
    assert column["geometry_types"] == ["Polygon", "MultiPolygon"]
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


def test_row_groups_of_short_vectors_stay_small_too(tmp_path, facts_of, monkeypatch):
    monkeypatch.setattr(writer, "GROUP_BYTES", 2**20)
    count = 5000
    rows = Rows(np.arange(count) // 400, np.arange(count) % 400, np.ones(count), np.ones((count, 1), np.float32))
    with StoreWriter(tmp_path / "a.parquet", facts_of(shape=(13, 400), cell=1, dimension=1)) as out:
        out.write(rows)
    assert max(len(b.row) for b in open_store(tmp_path / "a.parquet").blocks()) * writer.ROW_BYTES <= writer.GROUP_BYTES


def test_facts_return_as_they_were_written(store_of, facts_of):
    assert store_of(gsd=None, gsd_source="unknown").parts[0].facts == facts_of(gsd=None, gsd_source="unknown")


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
    metadata[FACTS_KEY] = metadata[FACTS_KEY].replace(b'"schema_version":2', b'"schema_version":3')
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "new.parquet")
    with pytest.raises(DataError, match=r"schema_version.*expected schema version 2"):
        open_store(tmp_path / "new.parquet")


def test_a_file_of_version_1_still_opens():
    store = open_store(Path(__file__).parent / "files" / "version-1.parquet")
    assert np.array_equal(store.vectors, np.arange(18).reshape(6, 3)) and store.facts.dtype == "float32"
    assert store.parts[0].raster.shape == (40, 60) and store.rows([1])[0]["id"] == "scene.tif#0,20"


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_a_folder_reads_as_one_table_of_its_sources_in_sorted_order(folder_of, dtype):
    random = np.random.default_rng(0)
    sources = {name: random.normal(size=(20, 6)).astype(np.float32) for name in ("b", "a", "c")}
    store = folder_of(sources, dtype=dtype)
    assert [(p.facts.source_id, p.first, p.count) for p in store.parts] == [("a", 0, 20), ("b", 20, 20), ("c", 40, 20)]
    expected = np.concatenate([sources[n] for n in "abc"])
    half_step = np.abs(expected).max() / 127 / 2
    assert np.abs(store.vectors - expected).max() <= {"float32": 0, "float16": 2e-3, "int8": half_step}[dtype]
    assert store.vectors.dtype == np.float32
    assert np.array_equal(np.concatenate([b.vectors for b in store.blocks()]), store.vectors)
    assert store.mean == pytest.approx(store.vectors.mean(0), abs=1e-6)
    table = pa.concat_tables(p.read(["id", "bbox"]) for p in store.parts)
    assert store.columns(["id"])["id"].to_pylist() == table["id"].to_pylist()
    assert [r["id"] for r in store.rows([45, 3])] == ["c#20,20", "a#0,60"]
    assert store.geometries([25])[0].bounds == pytest.approx(store.boxes[25])
    assert [store.part_of(i).facts.source_id for i in (0, 19, 20, 59)] == ["a", "a", "b", "c"]


def test_deleting_a_source_removes_its_rows_and_may_be_repeated(folder_of):
    store = folder_of({name: np.full((20, 2), i) for i, name in enumerate("ab")})
    assert delete_source(store.path, "a") and not delete_source(store.path, "a")
    left = open_store(store.path)
    assert len(left) == 20 and (left.vectors == 1).all()
    assert not delete_source(store.path, "../sources/b") and not delete_source(store.path, "nowhere")
    assert delete_source(store.path, "/data/b")
    with pytest.raises(DataError, match="has no rows"):
        open_store(store.path)


def test_rows_of_another_model_or_settings_are_refused_by_name(folder_of, facts_of, tmp_path):
    folder_of({"a": np.ones((20, 4))})
    with pytest.raises(DataError, match=r"model_hash and chip differ|chip and model_hash differ"):
        begin_folder(tmp_path / "store", facts_of(model_hash="x" * 16, cell=20, chip=24))
    other = folder_of({"b": np.ones((20, 4))}, name="other", spec_hash="y" * 16)
    source_file(other.path, "b").rename(source_file(tmp_path / "store", "b"))
    with pytest.raises(DataError, match=r"sources/b.parquet.*spec_hash differ"):
        open_store(tmp_path / "store")


def test_a_damaged_source_is_named_with_the_mend(folder_of):
    store = folder_of({name: np.random.default_rng(0).normal(size=(20, 64)) for name in "ab"})
    file = store.parts[1].path
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 3] ^= 0xFF
    file.write_bytes(whole)
    with pytest.raises(DataError, match=r"b.parquet is damaged.*Delete it"):
        open_store(store.path).columns(["id", "geometry", "bbox", "vector"])
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"b.parquet is not a readable Parquet file.*Delete it"):
        open_store(store.path)
