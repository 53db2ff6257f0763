from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors
from typer.testing import CliRunner

from ecotone.cli import app
from ecotone.embeddings import write_novelty, write_units
from ecotone.errors import DataError, RecipeError

GRID = {"shape": (200, 160), "cell": 10}  # 20 x 16 cells


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(320, 6)).astype(np.float32)


def distances(queries, known, k):
    """Mean cosine distance to the k nearest, counted by scikit-learn."""
    mean = known.mean(0)
    return NearestNeighbors(n_neighbors=k, metric="cosine").fit(known - mean).kneighbors(queries - mean)[0].mean(1)


def test_novelty_is_the_mean_distance_to_the_nearest_references(store_of, vectors, tmp_path):
    other = np.random.default_rng(1).normal(size=(320, 6)).astype(np.float32)
    store, reference = store_of(vectors, **GRID), store_of(other, name="b.parquet", crs="EPSG:32633", **GRID)
    (found,) = write_novelty(store, tmp_path / "n.tif", reference=reference, k=5)
    with rasterio.open(tmp_path / "n.tif") as file:
        values = file.read(1)
        assert values.dtype == np.float32 and np.isnan(file.nodata) and file.crs == "EPSG:32632"
        assert file.transform.a == 100 and file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert values.ravel() == pytest.approx(distances(vectors, other, 5), abs=1e-5)
    assert np.array_equal(values, found.values)


def test_a_store_is_no_reference_of_itself_in_the_cell_or_near_it(store_of, vectors, tmp_path):
    vectors[1] = vectors[0]
    store = store_of(vectors, **GRID)
    alone = write_novelty(store, tmp_path / "n.tif", k=1)[0].values
    same = write_novelty(store, tmp_path / "n.tif", reference=store_of(vectors, **GRID), k=1)[0].values
    assert np.array_equal(alone, same)  # the same file, named twice
    assert alone.ravel()[:2] == pytest.approx(0, abs=1e-6) and alone.ravel()[2:].min() > 1e-3
    apart = write_novelty(store, tmp_path / "n.tif", k=1, apart=1)[0].values
    assert apart[0, 0] > 1e-3 and (apart >= alone - 1e-6).all()
    empty = write_novelty(store, tmp_path / "n.tif", k=1, apart=20)[0].values
    assert np.isnan(empty).all()


def test_overlapping_cells_are_no_references_unless_asked(store_of, tmp_path):
    row, col = np.mgrid[:9, :7].reshape(2, -1)
    vectors = np.stack([np.cos(row), np.sin(row), np.cos(col), np.sin(col)], 1)
    store = store_of(vectors, cell=20, step=10)
    overlapping, default, own = (write_novelty(store, tmp_path / "n.tif", k=1, apart=a)[0].values for a in (1, None, 0))
    assert np.array_equal(default, overlapping) and (default > own).any()


def test_an_odd_place_stands_out(folder_of, tmp_path):
    random = np.random.default_rng(0)
    west, east = (np.array([1.0, 0, 0]) + 0.1 * random.normal(size=(20, 3)) for _ in range(2))
    west[10:] += [0, 1, 0]
    east[7] = [-1, -1, 3]
    found = write_novelty(folder_of({"west.tif": west, "east.tif": east}), tmp_path / "maps", k=3)
    by_name = {n.part.raster.name: n for n in found}
    assert by_name["east.tif"].values.argmax() == 7
    assert by_name["east.tif"].values.max() > 2 * by_name["west.tif"].values.max()
    assert sorted(p.name for p in (tmp_path / "maps").iterdir()) == ["east.tif.tif", "west.tif.tif"]


def test_a_sample_of_references_is_drawn_by_the_seed(store_of, vectors, tmp_path):
    store = store_of(vectors, **GRID)
    one, again, other, full = (
        write_novelty(store, tmp_path / "n.tif", k=2, sample=sample, seed=seed)[0].values
        for sample, seed in ((50, 0), (50, 0), (50, 1), (1000, 0))
    )
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert one.mean() > full.mean()


def test_what_has_no_novelty_is_refused(store_of, vectors, tmp_path):
    store, other = store_of(vectors, **GRID), store_of(vectors, name="b.parquet", model_hash="x" * 16, **GRID)
    with pytest.raises(DataError, match="not made alike"):
        write_novelty(store, tmp_path / "n.tif", reference=other)
    with pytest.raises(DataError, match="found 4 rows; expected at least 11"):
        write_novelty(store_of(shape=(40, 40)), tmp_path / "n.tif")
    with pytest.raises(RecipeError, match="k of at least 1"):
        write_novelty(store, tmp_path / "n.tif", k=0)


@pytest.fixture
def patchwork():
    """Vectors of 320 cells around three directions, and which is which; the second is the most frequent."""
    random = np.random.default_rng(0)
    truth = random.choice(3, 320, p=[0.2, 0.5, 0.3])
    return (np.eye(5)[truth] + 0.05 * random.normal(size=(320, 5))).astype(np.float32), truth


def test_units_find_the_clusters_the_largest_first(store_of, patchwork, tmp_path):
    vectors, truth = patchwork
    units = write_units(store_of(vectors, only=range(1, 320), **GRID), tmp_path / "u.tif", k=3)
    with rasterio.open(tmp_path / "u.tif") as file:
        cells = file.read(1).ravel()
        assert file.dtypes == ("uint8",) and file.nodata == 255 and cells[0] == 255
        assert json.loads(file.tags()["classes"]) == ["unit 1", "unit 2", "unit 3"] == units.names
        colours = file.colormap(1)
    assert len({colours[i] for i in range(3)}) == 3
    assert adjusted_rand_score(truth[1:], cells[1:]) == 1
    assert (np.bincount(truth[1:])[[1, 2, 0]] / 319 == units.shares).all()
    assert units.silhouette > 0.8


def test_auto_takes_the_number_with_the_largest_silhouette_and_a_seed_repeats(store_of, patchwork, tmp_path):
    store = store_of(patchwork[0], **GRID)
    one, again = (write_units(store, tmp_path / "u.tif", k=None, seed=3) for _ in range(2))
    assert len(one.names) == 3 and one.tried.keys() == set(range(2, 13))
    assert one.tried[3] == max(one.tried.values()) and np.array_equal(one.centres, again.centres)


def test_sources_share_their_units(folder_of, tmp_path):
    random = np.random.default_rng(0)
    truth = {name: random.integers(0, 2, 20) for name in ("a.tif", "b.tif")}
    vectors = {n: np.eye(3)[t] + 0.02 * random.normal(size=(20, 3)) for n, t in truth.items()}
    units = write_units(folder_of(vectors), tmp_path / "maps", k=2)
    cells = {n: rasterio.open(f).read(1).ravel() for n, f in zip(truth, units.files, strict=True)}
    both = np.concatenate(list(cells.values())), np.concatenate(list(truth.values()))
    assert adjusted_rand_score(*both) == 1


def test_what_has_no_units_is_refused(store_of, tmp_path):
    with pytest.raises(DataError, match=r"too few different embeddings.*found 1 in a sample of 20"):
        write_units(store_of(np.ones((20, 4))), tmp_path / "u.tif")
    with pytest.raises(RecipeError, match="between 2 and 255"):
        write_units(store_of(), tmp_path / "u.tif", k=1)


def test_the_commands_write_maps_and_figures(store_of, patchwork, tmp_path):
    store = store_of(patchwork[0], **GRID).path

    def run(*words):
        result = CliRunner().invoke(app, ["index", *(str(w) for w in words), "--json", str(tmp_path / "f.json")])
        if result.exception:
            raise result.exception
        return json.loads((tmp_path / "f.json").read_text())

    (novelty,) = run("novelty", store, "--out", tmp_path / "n.tif", "--k", 3)["maps"]
    assert novelty["cells"] == 320 and 0 <= novelty["p50"] <= novelty["p99"]
    units = run("units", store, "--out", tmp_path / "u.tif", "--k", "auto")
    assert sum(units["units"].values()) == pytest.approx(1) and len(units["units"]) == 3
    with pytest.raises(RecipeError, match="number or auto; found many"):
        run("units", store, "--out", tmp_path / "u.tif", "--k", "many")
