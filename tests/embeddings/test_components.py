from __future__ import annotations

import numpy as np
import pytest
import rasterio
from PIL import Image
from sklearn.decomposition import PCA

from ecotone.embeddings import fit_components, write_components


def test_components_agree_with_scikit_learn_and_have_fixed_signs(store_of):
    random = np.random.default_rng(0)
    vectors = (random.normal(size=(400, 8)) * np.arange(1, 9) + 5).astype(np.float32)
    components = fit_components(store_of(vectors, shape=(200, 200), cell=10))
    expected = PCA(3, svd_solver="full").fit(vectors)
    assert np.abs((components.axes * expected.components_).sum(1)) == pytest.approx(1, abs=1e-4)
    assert components.explained == pytest.approx(expected.explained_variance_ratio_, abs=1e-4)
    assert (components.axes[np.arange(3), np.abs(components.axes).argmax(1)] > 0).all()
    turned = fit_components(store_of(vectors[::-1], shape=(200, 200), cell=10))
    assert turned.axes == pytest.approx(components.axes, abs=1e-6)


@pytest.mark.parametrize(("n", "dimension"), [(1, 4), (2, 4), (6, 1), (6, 2)])
def test_fewer_rows_or_dimensions_than_bands_still_give_a_picture(tmp_path, store_of, n, dimension):
    vectors = np.random.default_rng(0).normal(size=(n, dimension))
    store = store_of(vectors, shape=(10, 10 * n), cell=10)
    write_components(store.parts[0], fit_components(store), tmp_path / "a.tif", tmp_path / "a.png")
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.shape == (1, n) and (file.read() > 0).all()


def test_the_picture_lies_on_the_grid_of_cells_with_nodata_where_nothing_was_embedded(tmp_path, store_of):
    store = store_of(only=[i for i in range(20) if i != 6])
    write_components(store.parts[0], fit_components(store), tmp_path / "a.tif", tmp_path / "a.png")
    with rasterio.open(tmp_path / "a.tif") as file:
        pixels = file.read()
        assert file.crs == "EPSG:32632" and file.nodata == 0 and file.dtypes == ("uint8",) * 3
        assert file.transform.almost_equals(rasterio.Affine(200, 0, 600_000, 0, -200, 5_300_000))
        assert file.tags()["model_hash"] == store.facts.model_hash
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert "principal component 1" in file.descriptions[0]
    assert pixels.shape == (3, 5, 4) and (pixels[:, 1, 2] == 0).all() and (pixels > 0).all(0).sum() == 19
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert picture.shape == (510, 408, 4) and picture[153, 255, 3] == 0 and picture[0, 0, 3] == 255


def test_overlapping_cells_are_drawn_around_their_centres(tmp_path, store_of):
    store = store_of(np.random.default_rng(0).normal(size=(63, 3)), cell=20, step=10)
    write_components(store.parts[0], fit_components(store), tmp_path / "a.tif", tmp_path / "a.png")
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.shape == (9, 7)
        assert file.xy(0, 0) == pytest.approx((600_100, 5_299_900))  # the centre of a chip of 200 m
