from __future__ import annotations

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from sklearn.linear_model import LogisticRegression

from ecotone.embeddings import parse_place, read_shapes, search, write_hits_as, write_score_maps
from ecotone.embeddings.places import metres_between, row_named, rows_at, rows_in
from ecotone.errors import DataError, EcotoneError


@pytest.fixture
def store(store_of):
    """100 cells whose left half resembles one direction and whose right half another."""
    random = np.random.default_rng(0)
    left = (np.arange(100) % 10 < 5)[:, None]
    vectors = np.where(left, [3, 0, 0, 1], [0, 3, 0, 1]) + 0.5 * random.normal(size=(100, 4)) + 2
    return store_of(vectors.astype(np.float32), shape=(200, 200))


def square(store, rows):
    return shapely.union_all(store.geometries(rows)).buffer(-1e-6)


def test_a_polygon_is_the_mean_of_its_rows_or_each_of_them(store):
    area = square(store, [0, 1, 10, 11])
    rows = rows_in(store, area)
    assert rows.tolist() == [0, 1, 10, 11]
    mean = search(store, vector=store.vectors[rows].mean(0), k=20)
    found = search(store, polygon=area, k=10)
    assert [h.index for h in found] == [h.index for h in mean if h.index not in rows][:10]
    singles = [search(store, vector=v, k=100) for v in store.vectors[rows]]
    best = {i: min(h.distance for hits in singles for h in hits if h.index == i) for i in range(100)}
    each = search(store, polygon=area, each=True, k=100)
    assert len(each) == 96
    assert [h.distance for h in each] == pytest.approx(sorted(best[h.index] for h in each), abs=1e-6)


def test_a_shape_smaller_than_a_cell_is_the_cell_it_touches(store):
    corner = store.geometries([25])[0].bounds
    inside = shapely.box(*corner).centroid.buffer(1e-5).difference(shapely.box(*corner).centroid.buffer(1e-6))
    assert rows_in(store, inside).tolist() == [25]
    with pytest.raises(DataError, match="no embedding in that area"):
        rows_in(store, shapely.box(0, 0, 1, 1))


def test_rows_are_named_by_their_ids(store):
    assert row_named(store, "scene.tif#20,40") == 12
    assert [h.index for h in search(store, ids=["scene.tif#20,40"], k=5)] == [
        h.index for h in search(store, vector=store.vectors[12], k=6)[1:]
    ]
    with pytest.raises(DataError, match=r"no row has the id.*look like 'scene.tif#0,0'"):
        row_named(store, "scene.tif#0,00")


def test_places_come_in_many_forms(store, tmp_path):
    centre = store.geometries([33])[0].centroid
    table = geopandas.GeoDataFrame(geometry=store.geometries([7, 8]), crs=4326).to_crs(32632)
    table.geometry = table.geometry.buffer(-20)
    table.to_file(tmp_path / "two.gpkg")
    places = [
        *parse_place(f"{centre.x}, {centre.y}"), *parse_place(str(tmp_path / "two.gpkg")),
        *parse_place("scene.tif#0,0"), *parse_place(f"POINT ({centre.x} {centre.y})"),
    ]  # fmt: skip
    assert rows_at(store, places).tolist() == [33, 7, 8, 0]
    with pytest.raises(DataError, match="neither a vector file nor a shape"):
        read_shapes("POLYGON ((1 2")
    (tmp_path / "x.gpkg").write_text("no geopackage")
    with pytest.raises(DataError, match="not a readable vector file"):
        read_shapes(str(tmp_path / "x.gpkg"))


def test_examples_rank_as_logistic_regression_does(store):
    positives, negatives = [0, 11, 22], [9, 18, 27]
    names = [r["id"] for r in store.rows([*positives, *negatives])]
    found = search(store, positives=names[:3], negatives=names[3:], k=94)
    units = store.vectors.astype(np.float64) - store.mean
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    model = LogisticRegression(C=10, class_weight="balanced").fit(units[positives + negatives], [1] * 3 + [0] * 3)
    expected = model.predict_proba(units)[:, 1]
    order = [i for i in np.argsort(-expected, kind="stable") if i not in positives][:94]
    assert [h.index for h in found] == order
    assert [h.probability for h in found] == pytest.approx(expected[order], abs=2e-3)
    assert all(h.index % 10 < 5 for h in found[:40])


def test_without_counter_examples_rows_of_the_store_stand_for_them(store):
    found = search(store, positives=["scene.tif#0,0", "scene.tif#20,20"], k=40)
    assert np.mean([h.index % 10 < 5 for h in found]) > 0.95
    assert [h.probability for h in found] == sorted((h.probability for h in found), reverse=True)


def test_contradicting_examples_are_refused(store):
    with pytest.raises(DataError, match="example and a counter-example at once"):
        search(store, positives=["scene.tif#0,0"], negatives=["scene.tif#0,0"])
    with pytest.raises(DataError, match="needs one query"):
        search(store, negatives=["scene.tif#0,0"], vector=np.ones(4))


def test_a_radius_leaves_out_the_surroundings(store):
    away = metres_between(store, np.array([55]))
    assert away[55] == 0 and away[56] == pytest.approx(200, rel=0.01) and away[65] == pytest.approx(200, rel=0.01)
    found = search(store, ids=["scene.tif#100,100"], k=100, radius=450)
    assert sorted(h.index for h in found) == np.flatnonzero(away > 450).tolist()


@pytest.mark.parametrize("name", ["hits.geojson", "hits.parquet", "hits.gpkg"])
def test_hits_are_written_in_the_formats_of_other_programs(store, tmp_path, name):
    found = search(store, positives=["scene.tif#0,0"], k=5)
    write_hits_as(found, tmp_path / name)
    table = (geopandas.read_parquet if name.endswith("parquet") else geopandas.read_file)(tmp_path / name)
    assert table.crs == "EPSG:4326" and list(table["rank"]) == [1, 2, 3, 4, 5]
    assert list(table["probability"]) == pytest.approx([h.probability for h in found])
    assert shapely.equals_exact(table.geometry.iloc[2], found[2].geometry, 1e-9)
    assert [f.name for f in tmp_path.iterdir() if f.name.startswith(("hits", ".hits"))] == [name]


def test_hits_in_an_unknown_format_are_refused(store, tmp_path):
    with pytest.raises(EcotoneError, match=r"hits.csv.*\.gpkg"):
        write_hits_as(search(store, vector=np.arange(4), k=5), tmp_path / "hits.csv")


def test_a_score_map_holds_the_probability_of_every_cell(store, tmp_path):
    places = {"positives": ["scene.tif#0,0"], "negatives": ["scene.tif#0,180"]}
    assert write_score_maps(store, **places, out=tmp_path / "map.tif") == [tmp_path / "map.tif"]
    with rasterio.open(tmp_path / "map.tif") as file:
        cells = file.read(1)
        assert np.isnan(file.nodata) and file.crs == "EPSG:32632" and "probability" in file.descriptions[0]
    for hit in search(store, **places, k=98):
        assert cells[hit.row // 20, hit.col // 20] == pytest.approx(hit.probability, abs=1e-5)


def test_a_store_searches_itself(store):
    assert store.search(vector=store.vectors[3], k=1)[0].index == 3
