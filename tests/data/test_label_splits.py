"""Splits by place: whole blocks, every class near its shares, no pixel and no buffer shared by two splits."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from ecotone.data.vector_labels import LabelOptions, Shapes, label_rasters
from ecotone.data.vector_labels.options import SPLITS
from ecotone.data.vector_labels.selection import RandomSplitWarning, thin
from ecotone.data.vector_labels.splitting import apart, assign_blocks, assign_random
from ecotone.errors import DataError
from ecotone.rasters import open_raster
from ecotone.rasters.ground import Ground

SHARES = (0.7, 0.15, 0.15)


@st.composite
def samples(draw):
    count = draw(st.integers(1, 120))
    side = draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    blocks = rng.integers(0, side, (count, 2))
    blocks[:3] = [[0, 0], [0, 1], [1, 0]][: len(blocks)]
    return blocks, np.eye(3, dtype=np.int64)[rng.choice(3, count, p=(0.8, 0.15, 0.05))]


@given(given_samples=samples(), seed=st.integers(0, 5))
def test_a_block_lies_in_one_split_and_every_split_has_one(given_samples, seed):
    blocks, counts = given_samples
    if len(blocks) < 3:
        with pytest.raises(DataError, match="too few blocks"):
            assign_blocks(blocks, counts, SHARES, seed)
        return
    found = assign_blocks(blocks, counts, SHARES, seed)
    assert np.array_equal(found, assign_blocks(blocks, counts, SHARES, seed))
    assert set(found) == {0, 1, 2}
    for block in np.unique(blocks, axis=0):
        assert len(set(found[(blocks == block).all(1)])) == 1


def test_classes_are_spread_as_the_shares_say_where_blocks_are_many():
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 20, (6000, 2))
    # Classes that keep to their own part of the ground, one of them rare.
    code = np.where(blocks[:, 0] < 12, 0, np.where(blocks[:, 0] < 19, 1, 2))
    counts = np.eye(3, dtype=np.int64)[code]
    found = assign_blocks(blocks, counts, SHARES, 0)
    table = np.array([[(code[found == s] == k).mean() * (found == s).sum() for k in range(3)] for s in range(3)])
    assert np.abs(table / table.sum(0) - np.array(SHARES)[:, None]).max() < 0.06


@given(count=st.integers(1, 300), seed=st.integers(0, 5))
def test_a_random_split_has_its_shares(count, seed):
    found = assign_random(count, SHARES, seed)
    wanted = np.diff([0, *np.round(np.cumsum(SHARES) * count)])
    assert np.bincount(found, minlength=3).tolist() == wanted.tolist()


@given(
    places=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=2, max_size=40),
    buffer=st.sampled_from([0.0, 3.0, 12.0]),
    seed=st.integers(0, 100),
)
def test_samples_of_two_splits_stay_apart_and_nothing_is_left_out_without_cause(places, buffer, seed):
    splits = np.random.default_rng(seed).integers(0, 3, len(places))
    boxes = np.array([shapely.box(x, y, x + 8, y + 8) for x, y in places])
    kept = apart(boxes, splits, buffer)

    def too_near(i, j):
        if splits[i] == splits[j]:
            return False
        return boxes[i].distance(boxes[j]) <= buffer if buffer else boxes[i].intersection(boxes[j]).area > 1e-3

    order = {"test": 0, "val": 1, "train": 2}
    rank = [order[SPLITS[s]] for s in splits]
    for i in range(len(boxes)):
        stronger = [j for j in range(len(boxes)) if kept[j] and rank[j] < rank[i] and too_near(i, j)]
        assert kept[i] != bool(stronger)


@given(st.integers(0, 1000), st.floats(0.5, 30))
def test_thinned_points_are_apart_and_maximal(seed, distance):
    points = np.random.default_rng(seed).uniform(-50, 50, (60, 2))
    kept = thin(points, np.arange(60), distance)
    between = np.hypot(*(points[:, None] - points[kept]).transpose(2, 0, 1))
    among = between[kept][~np.eye(len(kept), dtype=bool)]
    assert not len(among) or among.min() >= distance
    assert (between.min(1) < distance).all()


def write(path, crs, transform, size=200):
    values = np.random.default_rng(0).integers(1, 255, (1, size, size), dtype=np.uint8)
    profile = {"driver": "GTiff", "count": 1, "height": size, "width": size, "dtype": "uint8"}
    with rasterio.open(path, "w", crs=crs, transform=transform, **profile) as file:
        file.write(values)
    return open_raster(path)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32632", Affine(10, 0, 600_000, 0, -10, 5_300_000)),
        ("EPSG:4326", Affine(1e-4, 0, 11.5, 0, -1e-4, 48.2)),
        ("EPSG:4326", Affine(1e-4, 0, 179.999, 0, -1e-4, 10)),
        ("EPSG:3413", Affine(10, 0, 1000, 0, -10, 1000)),  # at the pole
        ("EPSG:32632", Affine(7, 7, 600_000, 7, -7, 5_300_000)),
    ],
)
def test_distances_on_the_ground_are_metres_wherever_the_raster_lies(tmp_path, crs, transform):
    raster = write(tmp_path / "a.tif", crs, transform)
    assert raster.place
    ground = Ground([(raster.place.lon, raster.place.lat)])
    metres = ground.metres(raster.crs.to_wkt(), transform, np.array([[100.0, 100.0], [110.0, 100.0], [100.0, 110.0]]))
    sides = np.hypot(*(metres[1:] - metres[0]).T)
    assert raster.gsd
    assert np.sqrt(sides.prod()) == pytest.approx(10 * raster.gsd, rel=0.06)  # UTM and stereographic scale included
    assert np.abs(metres[0]).max() < 0.1


def shapes(crs, geometry):
    return Shapes(np.array([geometry]), np.array([1]), ("background", "present"), crs, False, True)


@pytest.mark.parametrize("buffer", [0.0, 150.0])
def test_two_dates_of_one_place_share_no_ground_between_splits(tmp_path, buffer):
    # The second date is shifted by half a tile, so that windows of the two overlap in part.
    dates = [
        write(tmp_path / f"{n}.tif", "EPSG:32632", Affine(10, 0, 600_000 + shift, 0, -10, 5_300_000))
        for n, shift in (("first", 0), ("second", 130))
    ]
    field = shapes(dates[0].crs, shapely.box(600_200, 5_298_400, 601_000, 5_299_500))
    done = label_rasters(
        dates, field, tmp_path / "set", LabelOptions(kind="masks", size=20, block=400, buffer=buffer, seed=1)
    )
    with (tmp_path / "set" / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    boxes = {s: [] for s in SPLITS}
    for row in rows:
        with rasterio.open(tmp_path / "set" / row["path"]) as file:
            boxes[row["split"]].append(shapely.box(*file.bounds))
    assert min(map(len, boxes.values())) > 0
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        one, other = shapely.union_all(boxes[a]), shapely.union_all(boxes[b])
        assert one.intersection(other).area < 1
        assert one.distance(other) >= buffer * 0.999
    assert done.counts["too near to another split"] > 0
    files = [p.name for p in (tmp_path / "set" / "images").iterdir()]
    assert len(files) == len(rows) == len(list((tmp_path / "set" / "masks").iterdir()))


def test_a_random_split_is_made_only_with_a_warning_and_says_so(tmp_path):
    raster = write(tmp_path / "a.tif", "EPSG:32632", Affine(10, 0, 600_000, 0, -10, 5_300_000))
    field = shapes(raster.crs, shapely.box(600_200, 5_298_400, 601_000, 5_299_500))
    with pytest.warns(RandomSplitWarning, match="side by side"):
        done = label_rasters([raster], field, tmp_path / "set", LabelOptions(size=20, split="random"))
    assert done.splits == {"train": 70, "val": 15, "test": 15}
    assert "split_kind: random, seed 0" in (tmp_path / "set" / "dataset.yaml").read_text()
