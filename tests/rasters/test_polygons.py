"""Polygons of class maps: areas, the minimum mapping unit, common borders, both formats."""

from __future__ import annotations

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from scipy import ndimage

from ecotone.errors import DataError, RecipeError
from ecotone.rasters import polygons
from ecotone.rasters.polygons import write_polygons

CLASSES = ("water", "field", "town")
UTM = Affine(10, 0, 600_000, 0, -10, 5_300_000)


def write_map(path, values, crs="EPSG:32632", transform=UTM):
    profile = {"count": 1, "height": values.shape[0], "width": values.shape[1], "dtype": "uint8", "nodata": 255}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, **profile) as file:
        file.write(values, 1)
    return path


@pytest.fixture
def land():
    """Blobs of three classes with specks and a hole of no-data."""
    draw = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(draw.normal(size=(90, 120)), 5)
    values = np.digitize(smooth, np.quantile(smooth, [0.3, 0.7])).astype(np.uint8)
    values[draw.random(values.shape) < 0.01] = 2
    values[20:30, 40:60] = 255
    return values


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
def test_areas_are_those_of_the_pixels(tmp_path, land, suffix):
    out = tmp_path / f"map{suffix}"
    count = write_polygons(write_map(tmp_path / "map.tif", land), out, CLASSES)
    frame = geopandas.read_file(out) if suffix == ".gpkg" else geopandas.read_parquet(out)
    assert len(frame) == count
    assert frame.crs.to_epsg() == 32632
    for number, name in enumerate(CLASSES):
        mine = frame[frame["class"] == name]
        assert set(mine["value"]) == {number}
        assert mine["area_m2"].sum() == pytest.approx(100 * (land == number).sum())
        _, connected = ndimage.label(land == number)
        assert len(mine) == connected
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("at_once", [polygons.AT_ONCE, 120 * 17])
def test_nothing_below_the_minimum_mapping_unit_remains(tmp_path, land, monkeypatch, at_once):
    monkeypatch.setattr(polygons, "AT_ONCE", at_once)
    land[20:30, 40:60] = 0
    path = write_map(tmp_path / "map.tif", land)
    assert write_polygons(path, tmp_path / "all.parquet", CLASSES) > 50
    count = write_polygons(path, tmp_path / "map.parquet", CLASSES, min_area=1200)
    frame = geopandas.read_parquet(tmp_path / "map.parquet")
    assert 0 < count < 50
    assert frame["area_m2"].min() >= 1200
    assert frame["area_m2"].sum() == pytest.approx(land.size * 100)


def test_simplified_neighbours_still_meet(tmp_path, land):
    path = write_map(tmp_path / "map.tif", land)
    write_polygons(path, tmp_path / "raw.parquet", CLASSES, min_area=1200)
    write_polygons(path, tmp_path / "map.parquet", CLASSES, min_area=1200, simplify=20)
    raw, simple = (geopandas.read_parquet(tmp_path / name) for name in ("raw.parquet", "map.parquet"))
    assert (
        shapely.get_num_coordinates(simple.geometry.values).sum()
        < 0.7 * shapely.get_num_coordinates(raw.geometry.values).sum()
    )
    assert shapely.coverage_is_valid(simple.geometry.values)


def test_degrees_are_measured_in_metres(tmp_path):
    values = np.zeros((50, 50), np.uint8)
    values[10:20, 10:20] = 1
    path = write_map(tmp_path / "map.tif", values, "EPSG:4326", Affine(1e-4, 0, 11.5, 0, -1e-4, 48.2))
    write_polygons(path, tmp_path / "map.parquet", CLASSES)
    frame = geopandas.read_parquet(tmp_path / "map.parquet")
    field = frame[frame["class"] == "field"]
    geodesic = abs(field.crs.get_geod().geometry_area_perimeter(field.geometry.iloc[0])[0])
    assert field["area_m2"].iloc[0] == pytest.approx(geodesic, rel=0.01)


def test_an_empty_map_gives_an_empty_file(tmp_path):
    path = write_map(tmp_path / "map.tif", np.full((5, 5), 255, np.uint8))
    assert write_polygons(path, tmp_path / "map.gpkg", CLASSES) == 0
    assert write_polygons(path, tmp_path / "map.parquet", CLASSES, min_area=500, simplify=10) == 0


def test_bad_input_is_refused(tmp_path, land):
    path = write_map(tmp_path / "map.tif", land)
    with pytest.raises(RecipeError, match="not written as 'shp'"):
        write_polygons(path, tmp_path / "map.shp", CLASSES)
    with pytest.raises(DataError, match="cannot read"):
        write_polygons(tmp_path / "none.tif", tmp_path / "map.gpkg", CLASSES)
    flat = write_map(tmp_path / "flat.tif", land, None, Affine.identity())
    with pytest.raises(DataError, match="no georeference"):
        write_polygons(flat, tmp_path / "map.gpkg", CLASSES, min_area=5)
