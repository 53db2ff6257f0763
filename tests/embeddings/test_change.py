from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ecotone.cli import app
from ecotone.embeddings import write_change
from ecotone.embeddings.change import change_distance, otsu
from ecotone.embeddings.pairing import pair_up
from ecotone.errors import DataError, RecipeError


@pytest.fixture
def vectors():
    """Of 5 x 4 cells."""
    return np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)


@pytest.fixture
def dates(store_of, vectors):
    """Two stores that differ in one cell, and by a shift of the whole scene."""
    later = vectors.copy()
    later[6] = -later[6]
    return store_of(vectors, name="a.parquet"), store_of(later + 3, name="b.parquet")


def test_the_changed_cell_stands_out_on_the_map(dates, tmp_path):
    (change,) = write_change(*dates, tmp_path / "c.tif", mask=tmp_path / "m.tif")
    with rasterio.open(tmp_path / "c.tif") as file:
        values = file.read(1)
        assert file.dtypes == ("float32",) and np.isnan(file.nodata) and file.crs == "EPSG:32632"
        assert file.transform.almost_equals(rasterio.Affine(200, 0, 600_000, 0, -200, 5_300_000))
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.tags()["before"].endswith("scene.tif") and file.tags()["centre"] == "each"
    assert values.shape == (5, 4) and values.argmax() == 6 and values[1, 2] > 1.5
    assert np.delete(values.ravel(), 6).max() < 0.2
    with rasterio.open(tmp_path / "m.tif") as file:
        assert file.nodata == 255 and np.flatnonzero(file.read(1) == 1).tolist() == [6]
    assert change.changed == pytest.approx(1 / 20)


@pytest.mark.parametrize("centre", ["each", "common", "none"])
def test_the_distance_is_one_minus_the_cosine_of_centred_vectors(dates, vectors, centre):
    a, b = (d.vectors.astype(float) for d in dates)
    means = {"each": (a.mean(0), b.mean(0)), "common": ((a.mean(0) + b.mean(0)) / 2,) * 2, "none": (0, 0)}[centre]
    one, other = a - means[0], b - means[1]
    cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    (pair,) = pair_up(*dates)
    assert change_distance(pair, centre).ravel() == pytest.approx(1 - cosine, abs=1e-5)


def test_no_change_has_no_distance_and_no_threshold(store_of, vectors):
    store = store_of(vectors)
    (pair,) = pair_up(store, store)
    assert (change_distance(pair) == 0).all() and np.isnan(otsu(np.zeros(5)))
    same = store_of(np.ones((20, 3)), name="ones.parquet")
    assert (change_distance(pair_up(same, same)[0]) == 0).all()  # vectors without a direction


def test_cells_that_a_date_lacks_are_nodata(store_of, vectors, tmp_path):
    before = store_of(vectors, only=range(1, 20), name="a.parquet")
    after = store_of(vectors, only=range(19), name="b.parquet")
    write_change(before, after, tmp_path / "c.tif", mask=tmp_path / "m.tif")
    with rasterio.open(tmp_path / "c.tif") as file, rasterio.open(tmp_path / "m.tif") as mask:
        assert np.flatnonzero(np.isnan(file.read(1))).tolist() == [0, 19]
        assert np.flatnonzero(mask.read(1) == 255).tolist() == [0, 19]


def shifted(col, row, step=20):
    return 10.0, 0.0, 600_000.0 + 10 * step * col, 0.0, -10.0, 5_300_000.0 - 10 * step * row


def test_different_extents_meet_in_their_common_part(store_of, vectors, tmp_path):
    before = store_of(vectors, name="a.parquet")
    after = np.random.default_rng(1).normal(size=(20, 6))
    after.reshape(5, 4, 6)[:3, :3] = vectors.reshape(5, 4, 6)[2:, 1:]
    later = store_of(after, name="b.parquet", transform=shifted(1, 2))
    (change,) = write_change(before, later, tmp_path / "c.tif", centre="none")
    assert change.pair.shape == (3, 3) and change.distance == pytest.approx(0, abs=1e-6)
    with rasterio.open(tmp_path / "c.tif") as file:
        assert file.transform.almost_equals(rasterio.Affine(200, 0, 600_200, 0, -200, 5_299_600))
    (back,) = write_change(later, before, tmp_path / "d.tif", centre="none")
    assert back.pair.shape == (3, 3) and back.distance == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"model_hash": "x" * 16}, "not made alike.*model_hash differ"),
        ({"cell": 10}, "chip and cell and step differ"),
        ({"crs": "EPSG:32633"}, "different CRSs.*found EPSG:32633; expected EPSG:32632"),
        ({"transform": shifted(0.5, 0)}, "do not lie on one grid of cells.*offset of 0 rows and 10 columns"),
        ({"transform": (20.0, 0.0, 600_000.0, 0.0, -20.0, 5_300_000.0)}, "one grid of cells.*pixels of 20"),
        ({"transform": shifted(4, 0)}, "no area in common"),
    ],
)
def test_stores_that_do_not_compare_are_refused(store_of, other, sentence):
    before = store_of(name="a.parquet")
    after = store_of(name="b.parquet", **other)
    with pytest.raises(DataError, match=sentence):
        pair_up(before, after)


def test_folders_give_one_map_per_pair_of_sources(folder_of, vectors, tmp_path):
    west, east = vectors, vectors[::-1]
    before = folder_of({"west.tif": west, "east.tif": east}, name="a")
    after = folder_of({"west.tif": west, "east.tif": -east}, name="b")
    found = write_change(before, after, tmp_path / "maps", centre="none")
    assert sorted(p.name for p in (tmp_path / "maps").iterdir()) == ["east.tif.tif", "west.tif.tif"]
    by_name = {c.pair.before.raster.name: c for c in found}
    assert by_name["west.tif"].distance.max() < 1e-6 and by_name["east.tif"].distance.min() > 1.9
    with pytest.raises(DataError, match=r"2 sources make 2 maps.*Choose a folder"):
        write_change(before, after, tmp_path / "one.tif")


@given(st.lists(st.floats(0, 2), min_size=2, max_size=60).filter(lambda v: max(v) > min(v) + 1e-3))
def test_otsu_separates_best_among_all_its_thresholds(values):
    values = np.array(values)

    def spread(threshold):
        below, above = values[values <= threshold], values[values > threshold]
        return len(below) * len(above) * (below.mean() - above.mean()) ** 2 if len(below) and len(above) else 0

    best = max(spread(t) for t in np.linspace(values.min(), values.max(), 257)[1:-1])
    assert spread(otsu(values)) >= 0.95 * best  # values are rounded to the middle of one of 256 bins


def test_the_command_writes_maps_and_figures_and_refuses_half_questions(dates, tmp_path):
    words = [str(w) for w in ("index", "change", *(d.path for d in dates), "--out", tmp_path / "c.tif")]
    result = CliRunner().invoke(app, [*words, "--json", str(tmp_path / "c.json")])
    assert result.exit_code == 0, result.output
    (pair,) = json.loads((tmp_path / "c.json").read_text())["pairs"]
    assert pair["changed"] == pytest.approx(0.05) and pair["files"] == {"change": str(tmp_path / "c.tif")}
    for wrong, sentence in ((("--centre", "both"), "unknown --centre"), (("--unchanged", "x.tif"), "scores nothing")):
        failed = CliRunner().invoke(app, [*words, *wrong])
        assert isinstance(failed.exception, RecipeError) and sentence in str(failed.exception)
