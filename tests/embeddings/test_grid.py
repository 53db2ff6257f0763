from __future__ import annotations

import json
import resource
import signal

import numpy as np
import pyproj
import pytest
import rioxarray  # noqa: F401 (teaches xarray .rio)
import shapely
import xarray
import zarr

from ecotone.embeddings import grid, writer
from ecotone.embeddings.folder import grid_folder
from ecotone.embeddings.grid import write_grid, write_grids
from ecotone.errors import DataError

VECTORS = np.random.default_rng(0).normal(size=(63, 5)).astype(np.float32)
DEGREES = {"crs": "EPSG:4326", "transform": (1e-3, 0.0, 11.0, 0.0, -1e-3, 48.0)}


def opened(path):
    return xarray.open_zarr(path, consolidated=False)


def vectors_of(data):
    values = data.embedding.values
    return values * data.scale.values if "scale" in data else values


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("place", [{}, DEGREES])
def test_the_grid_holds_the_rows_at_their_places_and_nothing_elsewhere(store_of, tmp_path, dtype, place):
    # Cells of 20 pixels every 10: 9 x 7 of them, every third left out.
    kept = [i for i in range(63) if i % 3]
    store = store_of(VECTORS, cell=20, step=10, only=kept, dtype=dtype, **place)
    write_grid(store.parts[0], tmp_path / "a.zarr")
    data = opened(tmp_path / "a.zarr")
    assert data.embedding.dtype == dtype and data.embedding.dims == ("feature", "y", "x")
    found = vectors_of(data).reshape(5, -1).T
    assert np.array_equal(found[kept].astype(np.float32), store.vectors)
    assert np.isnan(np.delete(found, kept, 0)).all() and np.isnan(data.valid_fraction.values).sum() == 21
    assert data.embedding.rio.crs == store.parts[0].raster.crs
    assert np.allclose(data.embedding.rio.transform(), grid.grid_transform(store.parts[0].facts), rtol=1e-12)
    to_degrees = pyproj.Transformer.from_crs(store.parts[0].raster.crs, 4326, always_xy=True)
    x, y = (a.ravel() for a in np.meshgrid(data.x.values, data.y.values))
    lon, lat = to_degrees.transform(x[kept], y[kept])
    centres = shapely.centroid(store.geometries(range(len(store))))
    assert np.allclose(lon, shapely.get_x(centres), atol=1e-7) and np.allclose(lat, shapely.get_y(centres), atol=1e-7)
    assert data.attrs["model_hash"] == store.facts.model_hash


@pytest.mark.parametrize("per_strip", [1, 40, 500])
def test_strips_shards_and_row_groups_of_any_size_give_the_same_grid(store_of, tmp_path, monkeypatch, per_strip):
    vectors = np.random.default_rng(1).normal(size=(40 * 50, 4)).astype(np.float32)
    monkeypatch.setattr(writer, "GROUP_BYTES", 0)  # row groups of 256 rows
    monkeypatch.setattr(grid, "STRIP_BYTES", per_strip * 50 * 16)
    store = store_of(vectors, shape=(400, 500), cell=10)
    write_grid(store.parts[0], tmp_path / "a.zarr")
    array = zarr.open_group(tmp_path / "a.zarr")["embedding"]
    assert np.array_equal(array[:].reshape(4, -1).T, vectors)
    assert array.chunks[1] <= max(1, per_strip) and (array.shards is None or array.shards[1] <= max(1, per_strip))


def test_a_rotated_raster_has_a_transform_and_no_coordinates(store_of, tmp_path):
    store = store_of(VECTORS, cell=20, step=10, transform=(10.0, 2.0, 6e5, 2.0, -10.0, 5.3e6))
    write_grid(store.parts[0], tmp_path / "a.zarr")
    assert "x" not in opened(tmp_path / "a.zarr").coords
    said = json.loads((tmp_path / "a.zarr" / "spatial_ref" / "zarr.json").read_text())["attributes"]
    assert [float(v) for v in said["GeoTransform"].split()] == list(grid.grid_transform(store.parts[0].facts).to_gdal())


def test_a_store_gets_the_grids_that_it_lacks(folder_of):
    store = folder_of({name: np.full((20, 2), i) for i, name in enumerate("ab")})
    write_grids(store.path)
    first = grid_folder(store.path, "a")
    before = first.stat().st_ino
    write_grids(store.path)
    assert first.stat().st_ino == before and (opened(grid_folder(store.path, "b")).embedding.values == 1).all()


def test_a_grid_that_fails_on_the_way_leaves_nothing(store_of, tmp_path):
    store = store_of(np.random.default_rng(0).normal(size=(20, 64)))
    file = store.parts[0].path
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 3] ^= 0xFF
    file.write_bytes(whole)
    with pytest.raises(DataError, match="is damaged"):
        write_grid(store.parts[0], tmp_path / "a.zarr")
    assert not list(tmp_path.glob("*a.zarr*"))


def test_a_disk_without_space_leaves_no_grid(store_of, tmp_path):
    store = store_of(np.random.default_rng(0).normal(size=(20, 64)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else the kernel ends the process
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(DataError, match=r"cannot write .*a\.zarr"):
            write_grid(store.parts[0], tmp_path / "a.zarr")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert not list(tmp_path.glob("*a.zarr*"))
