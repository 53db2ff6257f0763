from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

from ecotone.cli import app
from ecotone.embeddings import classes_at, geometry_report
from ecotone.embeddings.geometry.page import reading
from ecotone.errors import DataError, RecipeError

GRID = {"shape": (400, 400), "cell": 20}  # 400 rows


def smooth(n=20, d=8, seed=0):
    """Vectors that change slowly over a grid of n x n cells: two curved dimensions."""
    row, col = np.mgrid[:n, :n].reshape(2, -1) / n
    waves = np.random.default_rng(seed).uniform(-3, 3, (2, d))
    return np.sin(np.stack([row, col], 1) @ waves + np.arange(d)) + 5


def test_a_smooth_field_has_two_dimensions_and_finds_its_neighbours(store_of):
    report = geometry_report(store_of(smooth(), **GRID), k=8)
    assert 1.7 < report["mle_dimension"] < 3
    assert report["tangent_dimension"] in (2, 3)
    assert report["anisotropy"] > 0.9 and abs(report["anisotropy_centred"]) < 0.1
    assert report["spatial_recall"] > 0.4 and report["duplicate_rate"] == 0
    of = {f.name: f for f in report.figures}
    assert of["mle_dimension"].twin > 1.3 * of["mle_dimension"].value  # the twin fills the directions it spans
    assert of["mle_dimension"].ci95[0] < of["mle_dimension"].value < of["mle_dimension"].ci95[1]
    assert of["spatial_recall"].random == pytest.approx(8 / 399)
    assert any("of 8 directions" in s for s in reading(report))


def test_noise_has_the_geometry_of_its_twin(store_of):
    report = geometry_report(store_of(np.random.default_rng(0).normal(size=(400, 6)), **GRID), k=8)
    for name in ("two_nn", "mle_dimension", "tangent_rotation", "alignment"):
        of = next(f for f in report.figures if f.name == name)
        assert of.value == pytest.approx(of.twin, rel=0.15)
    assert report["spatial_recall"] < 0.05


def test_a_seed_draws_the_sample_and_only_it(store_of):
    store = store_of(smooth(), **GRID)
    one, again, other = (geometry_report(store, k=6, sample=150, seed=s) for s in (0, 0, 1))
    assert one.sampled == 150 and one.to_dict() == again.to_dict()
    assert (one.index != other.index).any() and (np.diff(one.index) > 0).all()


def test_duplicates_are_counted_among_all_rows(store_of):
    vectors = smooth()
    vectors[:30] = vectors[0]
    report = geometry_report(store_of(vectors, **GRID), k=8, sample=200)
    assert report["duplicate_rate"] == pytest.approx(30 / 400)
    assert any("7.5 % of all rows are exact copies" in s for s in reading(report))


def test_equal_vectors_leave_figures_undefined_and_json_valid(store_of):
    report = geometry_report(store_of(np.ones((400, 4)), **GRID), k=8)
    assert report["two_nn"] is None and report["mle_dimension"] is None and report["duplicate_rate"] == 1
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["figures"]["two_nn"]["value"] is None
    assert any("no defined value" in s for s in reading(report))


def test_labels_add_how_well_neighbours_share_them(store_of):
    vectors = smooth()
    labels = (vectors[:, 0] > np.median(vectors[:, 0])).astype(np.int64)
    labels[::7] = -1
    report = geometry_report(store_of(vectors, **GRID), k=8, labels=labels)
    of = {f.name: f for f in report.figures}
    assert 0.6 < of["label_precision"].value < 1 and 0.3 < of["label_precision"].random < 0.5
    assert of["local_dimension_predicts_label_precision"].ci95 is not None


def test_what_cannot_be_measured_is_refused(store_of):
    store = store_of(shape=(40, 40))
    with pytest.raises(DataError, match=r"found 4 rows; expected at least 22.*Lower -k"):
        geometry_report(store)
    with pytest.raises(RecipeError, match="at least 3 neighbours"):
        geometry_report(store, k=2)
    with pytest.raises(DataError, match="one per row"):
        geometry_report(store_of(**GRID), k=5, labels=np.zeros(3, np.int64))


@pytest.fixture
def class_raster(tmp_path):
    """Classes in UTM, 40 m per pixel: the west half 1, the east half 2, the northernmost row without data."""

    def write(dtype="uint8", crs="EPSG:32632"):
        values = np.ones((1, 100, 100), dtype)
        values[..., 50:] = 2
        values[:, 0] = 255
        transform = rasterio.Affine(40, 0, 600_000, 0, -40, 5_300_000)
        profile = {"driver": "GTiff", "count": 1, "height": 100, "width": 100, "dtype": dtype, "nodata": 255}
        with rasterio.open(tmp_path / "classes.tif", "w", crs=crs, transform=transform, **profile) as file:
            file.write(values)
        return tmp_path / "classes.tif"

    return write


def test_classes_are_read_at_the_centres_of_rows(store_of, class_raster):
    found = classes_at(store_of(shape=(420, 420), cell=20), class_raster()).reshape(21, 21)
    assert (found[:20, :10] == 1).all() and (found[:20, 10:20] == 2).all()
    assert (found[20] == -1).all() and (found[:, 20] == -1).all()  # beyond the raster
    high = store_of(shape=(8, 400), cell=4, name="high.parquet")
    assert (classes_at(high, class_raster())[:100] == -1).all()  # the row without data


@pytest.mark.parametrize("wrong", [{"dtype": "float32"}, {"crs": None}])
def test_rasters_that_are_no_classes_are_refused(store_of, class_raster, wrong):
    with pytest.raises(DataError, match="no raster of classes"):
        classes_at(store_of(), class_raster(**wrong))


def test_the_command_prints_writes_and_labels(store_of, class_raster, tmp_path):
    store = store_of(smooth(), **GRID)
    words = ["index", "report", store.path, "-k", 8, "--labels", class_raster(), "--html", tmp_path / "g.html",
             "--json", tmp_path / "g.json"]  # fmt: skip
    result = CliRunner().invoke(app, [str(w) for w in words])
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "g.json").read_text())["figures"]
    assert figures["label_precision"]["value"] > 0.8
    html = (tmp_path / "g.html").read_text()
    assert html.count("<svg") == 3 and "label precision" in html and "http" not in html
