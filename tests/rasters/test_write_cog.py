import resource

import numpy as np
import pytest
import rasterio
from affine import Affine

from ecotone.errors import DataError
from ecotone.rasters import open_raster, write_cog

GRID = Affine(0.5, 0, 300000, 0, -0.5, 4000000)


def test_what_is_written_is_read_back_with_its_georeference(tmp_path):
    array = np.random.default_rng(0).normal(size=(3, 700, 600)).astype(np.float32)
    path = write_cog(
        tmp_path / "new" / "a.tif",
        array,
        crs="EPSG:32618",
        transform=GRID,
        nodata=-1,
        descriptions=("x", "y", "z"),
        tags={"model": "abc"},
    )
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), array)
        assert (file.crs.to_epsg(), file.transform, file.nodata) == (32618, GRID, -1)
        assert file.descriptions == ("x", "y", "z")
        assert file.tags()["model"] == "abc"
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1)
    assert open_raster(path).gsd == 0.5


def test_classes_keep_their_colours_and_are_not_averaged_in_overviews(tmp_path):
    array = np.zeros((1, 1024, 1024), np.uint8)
    array[:, :, ::2] = 4
    path = write_cog(tmp_path / "a.tif", array, crs="EPSG:32618", transform=GRID, colormap={0: (1, 2, 3), 4: (9, 8, 7)})
    with rasterio.open(path) as file:
        assert file.colormap(1)[4][:3] == (9, 8, 7)
    with rasterio.open(path, overview_level=0) as file:
        assert set(np.unique(file.read())) <= {0, 4}


def test_a_wrong_shape_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"\(C, H, W\)"):
        write_cog(tmp_path / "a.tif", np.ones((4, 4)), crs=None, transform=GRID)


def test_no_space_left_is_one_sentence_and_leaves_the_old_file(tmp_path):
    path = write_cog(tmp_path / "a.tif", np.ones((1, 8, 8), np.uint8), crs="EPSG:32618", transform=GRID)
    before = path.read_bytes()
    noise = np.random.default_rng(0).integers(0, 255, (3, 300, 300), np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(DataError, match=r"cannot write .*a\.tif"):
            write_cog(path, noise, crs="EPSG:32618", transform=GRID)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
