"""Change between two real dates, scored against real labels and floors that were computed on their own."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from sklearn.metrics import average_precision_score, roc_auc_score

from ecotone.embeddings import open_store, score_change, write_change
from ecotone.errors import DataError
from ecotone.inference import EmbedOptions, embed_raster
from ecotone.rasters import open_raster

BANDS = ("B1", "B2", "B3", "B4", "B5", "B7")


@pytest.fixture
def taizhou(shared_data):
    return shared_data / "landsat_cd/Taizhou"


@pytest.fixture
def change_of(means, tmp_path, taizhou):
    """The change by band means of patches, with these options."""
    model = means(sensor="landsat7-etm", bands=BANDS, unit="dn", gsd=(10, 40))

    def make(**options):
        stores = []
        for year in ("2000", "2003"):
            with open_raster(taizhou / f"{year}TM") as raster:
                out = tmp_path / f"{year}.parquet"
                embed_raster(model, raster, out=out, options=EmbedOptions(per="patch", **options))
            stores.append(open_store(out))
        (found,) = write_change(*stores, tmp_path / "change.tif")
        return found

    return make


@pytest.fixture
def change(change_of):
    return change_of()


def read(path):
    with rasterio.open(path) as file:
        return file.read().astype(float)


def test_map_and_floors_score_what_an_independent_count_gives(change, taizhou):
    before, after = read(taizhou / "2000TM"), read(taizhou / "2003TM")
    truth = np.where(read(taizhou / "change.bmp")[0] > 0, 1, np.where(read(taizhou / "unchanged.bmp")[0] > 0, 0, -1))
    a, b = ((x - x.mean((1, 2), keepdims=True)) / x.std((1, 2), keepdims=True) for x in (before, after))
    by_pixel = {
        "difference of pixels (CVA)": np.linalg.norm(after - before, axis=0),
        "difference of standardised pixels": np.linalg.norm(b - a, axis=0),
    }
    expected = dict(by_pixel)
    for name, values in by_pixel.items():
        expected[f"{name}, cell mean"] = np.kron(values.reshape(50, 8, 50, 8).mean((1, 3)), np.ones((8, 8)))
    expected["embedding"] = np.kron(change.distance, np.ones((8, 8)))
    scores = {s.name: s for s in score_change(change, taizhou / "change.bmp", taizhou / "unchanged.bmp")}
    known = truth >= 0
    for name, values in expected.items():
        assert scores[name].auc == pytest.approx(roc_auc_score(truth[known], values[known]), abs=1e-9)
        ap = average_precision_score(truth[known], values[known])
        assert scores[name].average_precision == pytest.approx(ap, abs=1e-9)
    assert (scores["embedding"].changed, scores["embedding"].unchanged) == (4227, 17163)
    assert not scores["embedding"].floor and all(s.floor for n, s in scores.items() if n != "embedding")
    assert len(scores) == 7 and scores["difference of standardised pixels"].auc > 0.98


def test_one_label_raster_makes_all_other_pixels_unchanged(change, taizhou):
    score = score_change(change, taizhou / "change.bmp")[0]
    assert (score.changed, score.unchanged) == (4227, 160_000 - 4227)


def write(path, values):
    with rasterio.open(path, "w", driver="GTiff", count=1, height=len(values), width=400, dtype="uint8") as file:
        file.write(values[None])
    return path


def test_labels_that_do_not_fit_are_refused(change, taizhou, tmp_path):
    ones, zeros = np.ones((400, 400), np.uint8), np.zeros((400, 400), np.uint8)
    small = write(tmp_path / "small.tif", ones[:200])
    with pytest.raises(DataError, match=r"not lie on the pixels.*found 200 x 400.*expected 400 x 400"):
        score_change(change, small)
    with pytest.raises(DataError, match="need both change and no change"):
        score_change(change, write(tmp_path / "none.tif", zeros))
    with pytest.raises(DataError, match="disagree; found 4227 pixels marked in both"):
        score_change(change, taizhou / "change.bmp", write(tmp_path / "all.tif", ones))


def test_labels_follow_a_scene_that_was_resampled(change, change_of, taizhou):
    labels = taizhou / "change.bmp", taizhou / "unchanged.bmp"
    coarse = score_change(change, *labels)[0]
    fine = change_of(at_gsd=15)
    assert fine.pair.shape == (100, 100)
    scores = score_change(fine, *labels)
    assert (scores[0].changed, scores[0].unchanged) == (4 * 4227, 4 * 17163)
    assert scores[0].auc > coarse.auc - 0.05


def test_labels_at_another_place_are_refused(change, tmp_path):
    transform = rasterio.Affine(30, 0, 203_355, 0, -30, 3_604_935)  # one pixel east
    profile = {"driver": "GTiff", "count": 1, "height": 400, "width": 400, "dtype": "uint8", "crs": "EPSG:32651"}
    with rasterio.open(tmp_path / "east.tif", "w", transform=transform, **profile) as file:
        file.write(np.ones((1, 400, 400), np.uint8))
    with pytest.raises(DataError, match="at the same place"):
        score_change(change, tmp_path / "east.tif")
