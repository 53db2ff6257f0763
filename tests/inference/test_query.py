from __future__ import annotations

import numpy as np
import pytest

from ecotone.embeddings import open_source, open_store, search
from ecotone.errors import CheckpointError, DataError
from ecotone.inference import EmbedOptions, embed_query, embed_raster
from ecotone.inference.pictures import write_hits
from ecotone.rasters import open_raster


@pytest.fixture
def store(means, write_tif, scene, tmp_path):
    with open_raster(write_tif(scene), sensor="rgb") as raster:
        embed_raster(means(), raster, out=tmp_path / "store", options=EmbedOptions())
    return open_store(tmp_path / "store")


def test_a_chip_of_the_scene_finds_its_own_place(means, store, write_tif, scene):
    chip = write_tif(scene[:, 32:64, 64:96], "chip.tif", place=None)
    with open_raster(chip, sensor="rgb", gsd=10) as image:
        hit = search(store, vector=embed_query(means(), image, store), k=1)[0]
    assert (hit.row, hit.col) == (32, 64) and hit.distance == pytest.approx(0, abs=1e-5)


def test_a_query_larger_than_a_window_is_the_mean_of_its_windows(means, store, write_tif, scene):
    chip = write_tif(scene[:, :64, :64], "chip.tif")
    with open_raster(chip, sensor="rgb") as image:
        vector = embed_query(means(), image, store)
    assert vector == pytest.approx(scene[:, :64, :64].reshape(3, -1).mean(1), rel=1e-5)


def test_a_query_that_is_too_small_is_refused(means, store, write_tif, scene):
    chip = write_tif(scene[:, :16, :16], "chip.tif")
    with open_raster(chip, sensor="rgb") as image, pytest.raises(DataError, match="16 x 16 pixels"):
        embed_query(means(), image, store)


def test_another_model_is_refused(means, store, write_tif, scene):
    with open_raster(write_tif(scene), sensor="rgb") as image:
        with pytest.raises(CheckpointError, match=r"another model.*ffff.*expected 0123456789abcdef"):
            embed_query(means(hash="f" * 16), image, store)
        with pytest.raises(CheckpointError, match="another InputSpec"):
            embed_query(means(gsd=(1, 20)), image, store)


def test_the_source_is_found_where_it_was_or_beside_the_store(store, write_tif, scene, tmp_path):
    with open_source(store.parts[0]) as source:
        assert source.bands == ("R", "G", "B") and source.unit.name == "uint8"
    (tmp_path / "scene.tif").rename(store.path.parent / "scene.tif")
    with open_source(store.parts[0]) as source:
        assert np.array_equal(source.read().pixels[0].numpy(), scene)
    (store.path.parent / "scene.tif").unlink()
    with pytest.raises(DataError, match="not where it was embedded"):
        open_source(store.parts[0])


@pytest.mark.parametrize("per", ["chip", "patch"])
def test_a_picture_shows_query_and_hits(means, write_tif, scene, tmp_path, per):
    scene[:, :10] = 0
    with open_raster(write_tif(scene, nodata=0), sensor="rgb") as raster:
        embed_raster(means(), raster, out=tmp_path / "store", options=EmbedOptions(per=per))
        store = open_store(tmp_path / "store")
        centre = store.geometries([4])[0].centroid
        found = search(store, point=(centre.x, centre.y), k=3)
        write_hits(tmp_path / "point.png", store, found, [4])
        write_hits(tmp_path / "image.png", store, found, raster)
    for name in ("point.png", "image.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
