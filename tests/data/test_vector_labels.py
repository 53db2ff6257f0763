"""Vector labels: masks have the area of their polygons, chips and pixels the class of their rule, files all facts."""

from __future__ import annotations

import csv

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import torch
import yaml
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecotone.data import open_dataset
from ecotone.data.vector_labels import LabelOptions, label_rasters, read_area, read_shapes
from ecotone.data.vector_labels.plane import Plane
from ecotone.errors import DataError, RecipeError
from ecotone.rasters import open_raster

WEST, NORTH, GSD, CRS = 600_000, 5_300_000, 10, "EPSG:32632"


@pytest.fixture
def raster(tmp_path):
    """A raster (120, 160) of 10 m pixels in which no two pixels of the first band are alike."""

    def write(name="scene.tif", nodata=None, holes=(), crs=CRS, shift=0):
        values = np.arange(1, 120 * 160 + 1, dtype=np.uint16).reshape(1, 120, 160)
        values = np.concatenate([values, values // 7 + 1, values // 11 + 1])
        for window in holes:
            values[(..., *window)] = nodata or 0
        profile = {"driver": "GTiff", "count": 3, "height": 120, "width": 160, "dtype": "uint16", "nodata": nodata}
        transform = Affine(GSD, 0, WEST + shift, 0, -GSD, NORTH)
        with rasterio.open(tmp_path / name, "w", crs=crs, transform=transform, **profile) as file:
            file.write(values)
            file.descriptions = ("B4", "B3", "B2")
        return open_raster(tmp_path / name, sensor="sentinel2-l2a", unit="reflectance x 10000")

    return write


@pytest.fixture
def vectors(tmp_path):
    """Shapes given in pixels (column, row) of the raster, as a file."""

    def write(shapes, file="labels.gpkg", crs=CRS, written=CRS, **columns):
        ground = [
            shapely.transform(s, lambda xy: np.array([WEST, NORTH]) + xy * [GSD, -GSD]) if s else s for s in shapes
        ]
        table = gpd.GeoDataFrame(columns, geometry=ground, crs=crs).to_crs(written)
        if file.endswith(".parquet"):
            table.to_parquet(tmp_path / file)
        else:
            table.to_file(tmp_path / file)
        return tmp_path / file

    return write


def box(col, row, width, height):
    return shapely.box(col, row, col + width, row + height)


def manifest(folder):
    with (folder / "manifest.csv").open() as file:
        return list(csv.DictReader(file))


def make(raster, shapes, tmp_path, area=None, **options):
    chosen = {"size": 20, "block": 400.0, **options}
    return label_rasters([raster], shapes, tmp_path / "set", LabelOptions(**chosen), area=area)


def plane(raster, shapes, area=None, all_touched=False):
    return Plane(raster, shapes, area, all_touched=all_touched).burn((0, 0, *raster.shape))


@pytest.mark.parametrize("name", ["labels.gpkg", "labels.geojson", "labels.shp", "labels.parquet"])
@pytest.mark.parametrize("written", [CRS, "EPSG:4326", "EPSG:3857"])
def test_every_format_and_crs_burns_the_same_pixels(raster, vectors, name, written):
    shapes = read_shapes(vectors([box(10, 20, 30, 40), box(100, 5, 7, 9)], name, written=written))
    burnt = plane(raster(), shapes)
    expected = np.zeros((120, 160), np.uint8)
    expected[20:60, 10:40] = expected[5:14, 100:107] = 1
    assert shapes.classes == ("background", "present")
    assert (burnt != expected).sum() <= (0 if written == CRS else 2)  # a corner may fall on the other side of a centre


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    col=st.floats(30, 130),
    row=st.floats(30, 90),
    radius=st.floats(3, 28),
    sides=st.integers(3, 40),
    turn=st.floats(0, 6),
)
def test_a_burnt_polygon_has_its_area_up_to_its_edge(raster, vectors, col, row, radius, sides, turn):
    angles = turn + np.linspace(0, 2 * np.pi, sides, endpoint=False)
    polygon = shapely.Polygon(np.stack([col + radius * np.cos(angles), row + radius * np.sin(angles)], 1))
    shapes, given_raster = read_shapes(vectors([polygon])), raster()
    centre, touched = (int(plane(given_raster, shapes, all_touched=t).sum()) for t in (False, True))
    whole = box(0, 0, 160, 120).intersection(polygon)
    assert abs(centre - whole.area) <= whole.length
    assert whole.area - 1e-6 <= touched <= whole.area + 2 * whole.length + 4
    given_raster.close()


def test_masks_of_real_buildings_have_the_area_of_the_buildings(shared_data, tmp_path):
    folder = shared_data / "geotiff_fixtures" / "solaris"
    with open_raster(folder / "sample_geotiff.tif") as given_raster:
        done = label_rasters(
            [given_raster],
            read_shapes(folder / "geotiff_labels.geojson"),
            tmp_path / "set",
            LabelOptions(size=90, block=100, shares=(0.6, 0.2, 0.2)),
        )
    area = gpd.read_file(folder / "geotiff_labels.geojson").union_all().area
    masks = [rasterio.open(f).read(1) for f in (tmp_path / "set" / "masks").iterdir()]
    assert len(masks) == done.samples == 100
    assert sum(int((m == 1).sum()) for m in masks) * 0.25 == pytest.approx(area, rel=0.01)
    assert sum(done.classes["present"].values()) == sum(int((m == 1).sum()) for m in masks)
    assert set(done.splits) == {"train", "val", "test"}


def test_a_sample_is_its_window_of_the_raster_with_every_fact(raster, vectors, tmp_path):
    source = raster(nodata=9999, holes=[(slice(0, 5), slice(0, 5))])
    make(source, read_shapes(vectors([box(10, 20, 30, 40)])), tmp_path)
    dataset = open_dataset(tmp_path / "set")
    assert (dataset.info.task, dataset.info.sensor) == ("segmentation", "sentinel2-l2a")
    assert dataset.info.split_kind == "spatial blocks of 400 m, buffer 0 m, seed 0"
    assert len(dataset) == 48
    for i, key in enumerate(dataset.keys()):
        row, col = map(int, key.removesuffix(".tif").split("-")[-2:])
        sample, window = dataset[i], (row, col, 20, 20)
        image, expected = sample.images["optical"], source.read(window)
        assert torch.equal(image.pixels, expected.pixels)
        assert (image.bands, image.unit, image.gsd) == (expected.bands, expected.unit, 10.0)
        assert (image.valid is None) == (expected.valid is None)
        assert image.valid is None or torch.equal(image.valid, expected.valid)
        assert sample.place and sample.place.bounds == source.place_at(window).bounds
    with rasterio.open(tmp_path / "set" / "images" / "scene-0-0.tif") as file:
        assert (file.nodata, file.descriptions, file.dtypes[0]) == (9999, ("B4", "B3", "B2"), "uint16")
    with rasterio.open(tmp_path / "set" / "masks" / "scene-0-0.tif") as file:
        mask = file.read(1)
        assert (file.nodata, file.transform.c, file.transform.f) == (255, WEST, NORTH)
    assert (mask[:5, :5] == 255).all()
    assert not mask[5:].any()


def test_what_a_mask_of_the_file_hides_is_no_data_in_the_sample(raster, vectors, tmp_path):
    path = raster().paths[0]
    with rasterio.open(path, "r+") as file:
        hidden = np.full((120, 160), 255, np.uint8)
        hidden[:5, :5] = 0
        file.write_mask(hidden)
    make(open_raster(path), read_shapes(vectors([box(10, 20, 30, 40)])), tmp_path)
    image = open_dataset(tmp_path / "set")[0].images["optical"]
    assert image.valid is not None
    assert int((~image.valid).sum()) == 25


def test_without_a_background_what_no_polygon_covers_is_unknown(raster, vectors, tmp_path):
    path = vectors([box(0, 0, 20, 20), box(20, 0, 15, 20)], crop=[3.0, 12.0])
    source = raster()
    burnt = plane(source, read_shapes(path, column="crop"))
    assert (burnt[:20, :20] == 0).all()
    assert (burnt[:20, 20:35] == 1).all()
    assert (burnt[20:] == 255).all()
    done = make(source, read_shapes(path, column="crop"), tmp_path, block=100.0, shares=(0.5, 0.5, 0))
    assert (done.samples, done.counts["unlabelled"]) == (2, 46)
    assert list(done.classes) == ["3", "12"]  # numbers in their order
    named = read_shapes(path, column="crop", background="other")
    assert named.classes == ("other", "3", "12")
    assert (plane(source, named)[20:] == 0).all()


def test_outside_the_labelled_area_nothing_is_known(raster, vectors):
    area = read_area(vectors([box(0, 0, 50, 60)], "area.gpkg"))
    burnt = plane(raster(), read_shapes(vectors([box(40, 50, 30, 30)])), area)
    assert (burnt[50:60, 40:50] == 1).all()
    assert (burnt[:50, :40] == 0).all()
    assert (burnt[60:] == 255).all()
    assert (burnt[:, 50:] == 255).all()


def test_the_smaller_of_two_polygons_lies_on_top_and_overlaps_are_counted(raster, vectors):
    path = vectors([box(15, 15, 4, 4), box(10, 10, 20, 20), box(30, 10, 5, 5)], kind=["pond", "field", "field"])
    shapes = read_shapes(path, column="kind")
    burnt = plane(raster(), shapes)
    assert shapes.overlaps() == 1  # neighbours that touch do not overlap
    assert (burnt[15:19, 15:19] == shapes.classes.index("pond")).all()
    assert (burnt[10:30, 10:30] == shapes.classes.index("field")).sum() == 400 - 16


def test_shapes_are_mended_and_what_cannot_be_used_is_counted(raster, vectors, tmp_path):
    bowtie = shapely.Polygon([(10, 10), (20, 20), (20, 10), (10, 20)])
    line = shapely.LineString([(0, 0), (9, 9)])
    shapes = [bowtie, line, shapely.Polygon(), box(40, 40, 5, 5), box(900, 900, 5, 5), box(60, 60, 5, 5)]
    kind = ["a", "a", "a", None, "b", "b"]
    found = read_shapes(vectors(shapes, "mixed.geojson", kind=kind), column="kind")
    done = make(raster(), found, tmp_path, block=100.0, shares=(0.5, 0.5, 0))
    counts = {k: done.counts[k] for k in ("mended", "other", "empty", "unclassed", "outside")}
    assert counts == {"mended": 1, "other": 1, "empty": 1, "unclassed": 1, "outside": 1}
    assert shapely.area(found.geometries).sum() == pytest.approx((50 + 25 + 25) * GSD**2, rel=1e-3)


@pytest.mark.parametrize(
    ("rule", "share", "expected"),
    [
        ("majority", None, {"0-0": "a", "0-20": "a", "0-40": "b"}),
        ("majority", 0.9, {"0-0": "a"}),
        ("centre", None, {"0-0": "a", "0-20": "a", "0-40": "b"}),
        ("any", 0.2, {"0-0": "a", "0-20": "a|b", "0-40": "b"}),
    ],
)
def test_the_class_of_a_chip_by_each_rule(raster, vectors, tmp_path, rule, share, expected):
    path = vectors([box(0, 0, 32, 20), box(32, 0, 20, 20)], kind=["a", "b"])
    shares = (0.5, 0.5, 0) if len(expected) > 1 else (1, 0, 0)
    done = make(
        raster(),
        read_shapes(path, column="kind"),
        tmp_path,
        kind="chips",
        rule=rule,
        min_share=share,
        block=150.0,
        shares=shares,
    )
    assert {r["path"][13:-4]: r["label"] for r in manifest(tmp_path / "set")} == expected
    assert done.task == ("multilabel" if rule == "any" else "classification")
    assert open_dataset(tmp_path / "set").info.classes == ("a", "b")


def test_any_cover_of_one_kind_of_shape_is_present_and_none_is_background(raster, vectors, tmp_path):
    path = vectors([box(0, 0, 10, 10), box(20, 0, 2, 2)])
    done = make(raster(), read_shapes(path), tmp_path, kind="chips", rule="any", min_share=0.2)
    labels = {r["path"][13:-4]: r["label"] for r in manifest(tmp_path / "set")}
    assert (labels["0-0"], labels["40-40"], "0-20" in labels) == ("present", "background", False)
    assert done.counts["undecided"] == 1


def test_chips_around_points_hold_their_pixel_and_stay_on_the_raster(raster, vectors, tmp_path):
    points = [(50.5, 60.5), (1.2, 1.9), (159.9, 119.9), (300.0, 5.0), (80.5, 80.5), (80.6, 80.4), (100.5, 20.5)]
    kind = ["a", "b", "a", "a", "b", "a", "b"]
    source = raster(nodata=0, holes=[(slice(15, 22), slice(98, 104))])
    path = vectors([shapely.Point(p) for p in points], kind=kind)
    done = make(
        source, read_shapes(path, column="kind"), tmp_path, kind="chips", size=16, block=300.0, shares=(0.5, 0.5, 0)
    )
    assert (done.counts["outside"], done.counts["same pixel"], done.counts["nodata"]) == (1, 1, 1)
    rows = manifest(tmp_path / "set")
    found = {tuple(map(int, r["path"].removesuffix(".tif").split("-")[-4:])): r["label"] for r in rows}
    assert found == {(52, 42, 60, 50): "a", (0, 0, 1, 1): "b", (104, 144, 119, 159): "a", (72, 72, 80, 80): "a"}


def test_tiles_without_a_point_are_the_background_of_points(raster, vectors, tmp_path):
    points = [(50.5, 60.5), (20.5, 20.5), (120.5, 100.5), (140.5, 20.5)]
    shapes = read_shapes(vectors([shapely.Point(p) for p in points]))
    done = make(raster(), shapes, tmp_path, kind="chips", size=16, buffer=0)
    assert done.classes.keys() == {"background", "present"}
    assert all(sum(c.values()) <= 4 for c in done.classes.values())
    for row in manifest(tmp_path / "set"):
        r, c = map(int, row["path"].removesuffix(".tif").split("-")[1:3])
        holds = any(c <= x < c + 16 and r <= y < r + 16 for x, y in points)
        assert holds == (row["label"] == "present")


@pytest.mark.parametrize("distance", [0.0, 45.0])
def test_sampled_pixels_are_of_their_class_observed_as_many_as_asked_and_apart(raster, vectors, tmp_path, distance):
    hole = (slice(0, 30), slice(0, 30))
    source = raster(nodata=0, holes=[hole])
    shapes = read_shapes(vectors([box(0, 0, 60, 60), box(100, 60, 3, 3)]))
    done = make(source, shapes, tmp_path, kind="pixels", size=5, limit=40, min_distance=distance, block=300.0)
    truth = plane(source, shapes)
    rows, places = manifest(tmp_path / "set"), []
    for row in rows:
        r, c = map(int, row["path"].removesuffix(".tif").split("-")[-2:])
        assert row["label"] == shapes.classes[truth[r, c]]
        assert not (r < 30 and c < 30)
        assert float(row["B4"]) == r * 160 + c + 1
        places.append((r * GSD, c * GSD))
    assert max(sum(c.values()) for c in done.classes.values()) <= 40
    assert done.counts["pixels on nodata"] == 900
    if distance:
        apart = np.hypot(*(np.array(places)[:, None] - np.array(places)).transpose(2, 0, 1))
        assert apart[~np.eye(len(apart), dtype=bool)].min() >= distance * 0.999


def test_one_seed_makes_one_dataset(raster, vectors, tmp_path):
    shapes = read_shapes(vectors([box(0, 0, 60, 60), box(100, 60, 30, 30)]))
    tables = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        options = LabelOptions(kind="pixels", size=5, limit=30, seed=seed)
        label_rasters([raster()], shapes, tmp_path / name, options)
        tables.append((tmp_path / name / "manifest.csv").read_text())
    assert tables[0] == tables[1] != tables[2]


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        ([], {}, "holds no shapes"),
        ([shapely.Point(1, 1), box(0, 0, 9, 9)], {}, "both points and polygons; found 1 points, 1 polygons"),
        ([shapely.LineString([(0, 0), (9, 9)])], {}, "no usable points or polygons"),
        ([box(0, 0, 9, 9)], {"column": "nmae"}, "no column 'nmae'. Did you mean 'name'"),
        ([box(0, 0, 9, 9)], {"column": "joined"}, "sign that joins classes; found 'a|b'"),
        ([box(0, 0, 9, 9)], {"background": "present"}, "the background cannot be a class"),
        ([box(0, 0, 9, 9)], {"layer": "roofs"}, "cannot read"),
    ],
)
def test_unusable_vectors_are_refused_in_a_sentence(vectors, shapes, options, message):
    path = vectors(shapes, "mixed.geojson", name=["x"] * len(shapes), joined=["a|b"] * len(shapes))
    with pytest.raises(DataError, match=message):
        read_shapes(path, **options)


def test_vectors_without_crs_or_file_are_refused(vectors, tmp_path):
    table = gpd.GeoDataFrame(geometry=[box(0, 0, 9, 9)])
    table.to_parquet(tmp_path / "bare.parquet")
    with pytest.raises(DataError, match="no coordinate reference system"):
        read_shapes(tmp_path / "bare.parquet")
    with pytest.raises(DataError, match="there is no file"):
        read_shapes(tmp_path / "none.gpkg")
    (tmp_path / "text.gpkg").write_text("not a database")
    with pytest.raises(DataError, match="cannot read"):
        read_shapes(tmp_path / "text.gpkg")
    with pytest.raises(DataError, match="made of points"):
        read_area(vectors([shapely.Point(1, 1)]))


def test_labels_that_cannot_be_made_leave_nothing_behind(raster, vectors, tmp_path):
    good = read_shapes(vectors([box(0, 0, 60, 60)], "good.gpkg"))
    one = read_shapes(vectors([box(0, 0, 9, 9)], "one.gpkg", kind=["a"]), column="kind")
    for given_raster, shapes, options, message in (
        (raster(), read_shapes(vectors([box(5000, 0, 9, 9)], "far.gpkg")), {}, "none of the shapes meets a raster"),
        (raster(), good, {"size": 500}, "smaller than a sample; found 120 x 160 pixels; expected at least 500"),
        (raster(), one, {"block": 1e6}, "too few blocks to be split by place; found 1 blocks; expected at least 3"),
        (raster("none.tif", crs=None), good, {}, "no usable georeference"),
        (raster("gone.tif", nodata=7, holes=[(slice(None), slice(None))]), good, {}, "no sample came of these labels"),
    ):
        with pytest.raises(DataError, match=message):
            make(given_raster, shapes, tmp_path, **options)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").touch()
    with pytest.raises(DataError, match="exists already and is not empty"):
        make(raster(), good, tmp_path)
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == ["set"]


def test_a_raster_cut_short_leaves_nothing_behind(raster, vectors, tmp_path):
    path = tmp_path / "scene.tif"
    raster().close()
    path.write_bytes(path.read_bytes()[:60_000])
    with pytest.raises(DataError, match="cannot read"):
        make(open_raster(path), read_shapes(vectors([box(0, 0, 60, 60)])), tmp_path)
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


def test_rasters_that_differ_are_refused(raster, vectors, tmp_path):
    one = raster()
    other = open_raster(one.paths[0], bands=["B4", "B3"], sensor="sentinel2-l2a", unit="reflectance x 10000")
    with pytest.raises(DataError, match=r"differs from .* in its bands"):
        label_rasters([one, other], read_shapes(vectors([box(0, 0, 9, 9)])), tmp_path / "set")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "boxes"}, "unknown kind of labels"),
        ({"kind": "pixels", "size": 8}, "odd side"),
        ({"shares": (0.5, 0.5, 0.5)}, "add up to one"),
        ({"min_share": 2}, "0 to 1"),
        ({"buffer": -1}, "buffer"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(RecipeError, match=message):
        LabelOptions(**options)


def test_the_declaration_says_how_the_samples_came_about(raster, vectors, tmp_path):
    make(raster(), read_shapes(vectors([box(10, 20, 30, 40)])), tmp_path)
    said = yaml.safe_load((tmp_path / "set" / "dataset.yaml").read_text())
    assert (said["classes"], said["ignore"]) == ({0: "background", 1: "present"}, 255)
    assert said["made_with_labels"]["rasters"] == ["scene.tif"]
    assert said["made_with_labels"]["size"] == 20
