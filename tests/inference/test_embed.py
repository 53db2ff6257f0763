from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecotone.embeddings import open_source, open_store, search
from ecotone.embeddings.footprints import CellGrid
from ecotone.embeddings.places import row_at
from ecotone.encoders import Features, build_encoder
from ecotone.errors import DataError, InputError, RecipeError
from ecotone.inference import AssumedGsdWarning, EmbedOptions, embed_raster
from ecotone.inference.embedder import Embedder
from ecotone.inference.windows import read_windows
from ecotone.inputs import InputSpec, RoleSpec, ZScore
from ecotone.rasters import open_raster
from ecotone.weights import load_model, save_model


def embed(model, path, out, *, gsd=None, **options):
    with open_raster(path, sensor="rgb", gsd=gsd) as raster:
        return embed_raster(model, raster, out=out, options=EmbedOptions(**options))


def block_means(pixels, row, col, side):
    part = pixels[:, row : row + side, col : col + side]
    return part.reshape(len(part), -1).mean(1)


@pytest.mark.parametrize("place", ["utm", "degrees"])
@pytest.mark.parametrize(("per", "side"), [("chip", 32), ("patch", 8)])
def test_every_vector_belongs_to_the_pixels_under_its_polygon(means, write_tif, scene, tmp_path, place, per, side):
    path = write_tif(scene[:, :64, :96], place=place)
    summary = embed(means(), path, tmp_path / "a.parquet", per=per)
    table = geopandas.read_parquet(tmp_path / "a.parquet")
    assert summary.rows == len(table) == (64 // side) * (96 // side) and summary.dropped == 0
    with rasterio.open(path) as file:
        to_degrees = pyproj.Transformer.from_crs(file.crs, 4326, always_xy=True)
        rows, cols = (a.ravel() for a in np.mgrid[:64, :96])
        lon, lat = to_degrees.transform(*(file.transform @ (cols + 0.5, rows + 0.5)))
    for cell in table.itertuples():
        inside = shapely.contains_xy(cell.geometry, lon, lat)
        assert inside.sum() == side * side
        assert cell.vector == pytest.approx(scene[:, rows[inside], cols[inside]].mean(1), rel=1e-5)


def test_edge_windows_are_padded_and_those_with_too_few_valid_pixels_are_dropped_and_counted(
    means, write_tif, scene, tmp_path
):
    # 80 x 100 pixels: the last row of chips is half inside, the last column has 4 of its 32 columns inside.
    summary = embed(means(), write_tif(scene), tmp_path / "a.parquet")
    store = open_store(tmp_path / "a.parquet")
    assert (summary.rows, summary.dropped) == (9, 3)
    fractions = {r["id"].split("#")[1]: r["valid_fraction"] for r in store.rows(range(9))}
    assert fractions["0,0"] == 1 and fractions["64,64"] == 0.5
    assert embed(means(), write_tif(scene), tmp_path / "b.parquet", min_valid=0).rows == 12


def test_places_without_data_are_dropped_and_counted(means, write_tif, scene, tmp_path):
    scene[:, :40, :40] = 0
    path = write_tif(scene[:, :64, :96], nodata=0)
    summary = embed(means(), path, tmp_path / "chips.parquet")
    assert (summary.rows, summary.dropped) == (5, 1)
    summary = embed(means(), path, tmp_path / "patches.parquet", per="patch")
    store = open_store(tmp_path / "patches.parquet")
    assert (summary.rows, summary.dropped) == (96 - 25, 25)
    assert not any(r["row"] < 40 and r["col"] < 40 for r in store.rows(range(len(store))))
    with rasterio.open(summary.files["pca_tif"]) as file:
        seen = (file.read() > 0).all(0)
    assert not seen[:5, :5].any() and seen.sum() == 71


def corners(means, patch=8):
    """A model of patches whose vectors say where their window began, if the pixels say where they lie."""
    model = means(patch=patch)

    def forward(prepared, layers):
        pixels = prepared["optical"].pixels[:, 0]
        grid = pixels[:, :2, :1, :1].expand(-1, -1, *(n // patch for n in pixels.shape[-2:]))
        return Features(maps=[grid], strides=[patch], pooled=grid.mean((-2, -1)))

    model.encoder.forward_intermediates = forward
    return model


def places(height, width):
    """(3, height, width) the row and the column of each pixel, and a one."""
    return np.stack([*np.mgrid[:height, :width], np.ones((height, width))]).astype(np.uint8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([(8, 0), (8, 8), (8, 16), (8, 24), (16, 0), (16, 16)]))
def test_every_patch_comes_once_from_the_nearest_window_which_overhangs_by_less_than_a_patch(
    means, write_tif, height, width, windows
):
    patch, overlap = windows
    options = EmbedOptions(per="patch", overlap=overlap, min_valid=0, batch_size=4)
    with open_raster(write_tif(places(height, width)), sensor="rgb") as raster:
        found = list(Embedder(corners(means, patch), raster, options).rows())
    cells = np.concatenate([np.stack([r.row, r.col], 1) for r in found])
    owners = np.concatenate([r.vectors for r in found])
    size = CellGrid((height, width), patch, patch).size
    assert sorted(map(tuple, cells.tolist())) == [
        (patch * i, patch * j) for i in range(size[0]) for j in range(size[1])
    ]
    for axis, length in enumerate((height, width)):
        starts = np.unique(owners[:, axis])
        assert len(starts) == CellGrid((height, width), 32, 32 - overlap).size[axis]
        assert (starts[0] == 0 and (starts + 32 < length + patch).all()) or length < 32
        away = np.abs(cells[:, axis, None] + patch / 2 - (starts + 16))
        own = np.abs(cells[:, axis] + patch / 2 - (owners[:, axis] + 16))
        assert np.array_equal(own, away.min(1))


def test_no_window_of_patches_sees_padding_where_whole_patches_cover_the_raster(means, write_tif):
    options = EmbedOptions(per="patch", overlap=8)  # steps of 24 pixels
    with open_raster(write_tif(places(80, 104)), sensor="rgb") as raster:
        embedder = Embedder(means(), raster, options)
        windows = list(read_windows(embedder.feed.rasters, embedder.tiling, 4))
        assert (np.concatenate([w.share for w in windows]) == 1).all()
        assert sum(len(rows.row) for rows in embedder.rows()) == 10 * 13 and embedder.dropped == 0


def test_overlap_changes_no_vector_of_a_local_encoder(means, write_tif, scene, tmp_path):
    path, vectors = write_tif(scene), {}
    for overlap in (0, 16):
        embed(means(), path, tmp_path / "a.parquet", per="patch", overlap=overlap)
        store = open_store(tmp_path / "a.parquet")
        ids = [r["id"] for r in store.rows(range(len(store)))]
        vectors[overlap] = dict(zip(ids, store.vectors.tolist(), strict=True))
    assert vectors[0] == vectors[16]


def test_batch_size_changes_no_file(means, write_tif, scene, tmp_path):
    for size in (1, 5, 32):
        embed(means(), write_tif(scene), tmp_path / f"{size}.parquet", batch_size=size)
    stores = [open_store(tmp_path / f"{size}.parquet") for size in (1, 5, 32)]
    assert np.array_equal(stores[0].vectors, stores[1].vectors) and np.array_equal(stores[0].vectors, stores[2].vectors)
    assert stores[0].rows(range(9)) == stores[1].rows(range(9)) == stores[2].rows(range(9))


def test_the_gsd_of_the_raster_reaches_the_model_and_the_store(means, write_tif, scene, tmp_path):
    summary = embed(means(), write_tif(scene), tmp_path / "a.parquet")
    assert (summary.gsd, summary.gsd_source) == (10.0, "georeference")
    assert summary.km2_per_s == pytest.approx(summary.mpix_per_s * 100)
    assert open_store(tmp_path / "a.parquet").rows([0])[0]["gsd"] == 10.0


def test_a_gsd_outside_the_range_of_the_model_is_refused_with_the_mend(means, write_tif, scene, tmp_path):
    with pytest.raises(InputError, match=r"found 10 m; expected 0.2 to 1 m.*Resample"):
        embed(means(gsd=(0.2, 1.0)), write_tif(scene), tmp_path / "a.parquet")
    assert list(tmp_path.glob("*.parquet*")) == []


def test_a_raster_is_resampled_to_the_gsd_of_the_model_where_asked(means, write_tif, scene, tmp_path):
    path = write_tif(scene[:, :64, :96])
    summary = embed(means(gsd=(20, 40)), path, tmp_path / "a.parquet", at_gsd="model")
    assert (summary.gsd, summary.gsd_source, summary.rows) == (20.0, "resampled", 2)
    store = open_store(tmp_path / "a.parquet")
    assert store.vectors[0] == pytest.approx(scene[:, :64, :64].reshape(3, -1).mean(1), rel=1e-5)
    plain = embed(means(), path, tmp_path / "b.parquet", chip=64)
    assert store.geometries([0])[0].equals_exact(open_store(tmp_path / "b.parquet").geometries([0])[0], 1e-9)
    with open_source(store.parts[0]) as again:
        assert (again.shape, again.gsd) == ((32, 48), 20.0)
    assert plain.gsd == 10 and embed(means(), path, tmp_path / "c.parquet", at_gsd="model").gsd_source == "georeference"
    assert embed(means(), path, tmp_path / "d.parquet", at_gsd=5).rows == 24


def test_without_a_gsd_the_models_own_is_assumed_loudly(means, write_tif, scene):
    path = write_tif(scene, place=None)
    with open_raster(path, sensor="rgb") as raster:
        with pytest.warns(AssumedGsdWarning, match="10 m per pixel is ASSUMED"):
            embedder = Embedder(means(gsd=(5, 20), gsd_required=True), raster, EmbedOptions())
        assert (embedder.gsd, embedder.gsd_source) == (10.0, "assumed")
        with pytest.raises(InputError, match="needs the GSD"):
            Embedder(means(gsd=None, gsd_required=True), raster, EmbedOptions())


def test_a_raster_without_a_place_is_refused(means, write_tif, scene, tmp_path):
    with pytest.raises(DataError, match="no usable georeference"):
        embed(means(), write_tif(scene, place=None), tmp_path / "a.parquet", gsd=10)


def test_missing_bands_are_named(means, write_tif, scene, tmp_path):
    with (
        open_raster(write_tif(scene.astype(np.uint16), bands=("B2", "B3", "B8")), sensor="sentinel2-l2a") as raster,
        pytest.raises(InputError, match="lack 3 bands that the model needs: R, G, B"),
    ):
        embed_raster(means(), raster, out=tmp_path / "a.parquet")


def test_rgb8_lets_a_display_model_meet_reflectance_and_is_recorded(means, write_tif, scene, tmp_path):
    pixels = (scene.astype(np.uint16) * 10)[:, :64, :96]
    path = write_tif(pixels, bands=("B2", "B3", "B4"))
    with open_raster(path, sensor="sentinel2-l2a") as raster:
        with pytest.raises(InputError, match="lack 3 bands"):
            embed_raster(means(), raster, out=tmp_path / "a.parquet")
        summary = embed_raster(means(), raster, out=tmp_path / "a.parquet", options=EmbedOptions(convert="rgb8"))
    store = open_store(tmp_path / "a.parquet")
    assert summary.conversion == store.facts.conversion == "rgb8"
    expected = block_means(pixels[::-1], 0, 0, 32) * 1e-4 / 0.3 * 255
    assert store.vectors[0] == pytest.approx(expected, rel=1e-4)


def test_a_scene_without_data_is_refused_and_leaves_nothing(means, write_tif, scene, tmp_path):
    path = write_tif(np.zeros_like(scene), nodata=0)
    with pytest.raises(DataError, match=r"no part of .* has enough valid pixels"):
        embed(means(), path, tmp_path / "out.parquet")
    assert list(tmp_path.glob("*out*")) == []


def test_a_crash_on_the_way_leaves_nothing_half_written_and_the_old_store_whole(
    means, write_tif, scene, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    embed(means(), write_tif(scene), out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    model, calls = means(), []

    def crash(prepared, layers):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("stopped on the way")
        return type(model.encoder).forward_intermediates(model.encoder, prepared, layers)

    monkeypatch.setattr(model.encoder, "forward_intermediates", crash)
    with pytest.raises(RuntimeError, match="on the way"):
        embed(model, write_tif(scene), out, batch_size=1)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_a_truncated_raster_leaves_nothing(means, write_tif, scene, tmp_path):
    path = write_tif(np.tile(scene, (1, 4, 4)))
    path.write_bytes(path.read_bytes()[:200_000])
    with pytest.raises(DataError):
        embed(means(), path, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()] in ([], [".lock"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"per": "pixel"}, "per chip or per patch"),
        ({"convert": "rbg8"}, "Did you mean 'rgb8'"),
        ({"overlap": 32}, "overlap must be smaller"),
        ({"batch_size": 0}, "batch size"),
        ({"min_valid": 1.5}, "between 0 and 1"),
    ],
)
def test_options_without_meaning_are_refused(means, write_tif, scene, tmp_path, options, words):
    with pytest.raises(RecipeError, match=words):
        embed(means(), write_tif(scene), tmp_path / "a.parquet", **options)


def test_sizes_that_the_model_cannot_take_are_refused(means, write_tif, scene, tmp_path):
    with pytest.raises(InputError, match="multiples of 8"):
        embed(means(), write_tif(scene), tmp_path / "a.parquet", chip=30)
    with pytest.raises(InputError, match="whole patches"):
        embed(means(), write_tif(scene), tmp_path / "a.parquet", per="patch", overlap=4)


def test_outputs_stand_beside_a_parquet_file_or_in_a_folder(means, write_tif, scene, tmp_path):
    files = embed(means(), write_tif(scene), tmp_path / "x" / "munich.parquet").files
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == sorted(
        ["munich.parquet", "munich.pca.png", "munich.pca.tif"]
    )
    assert files["pca_tif"].endswith("munich.pca.tif")
    files = embed(means(), write_tif(scene), tmp_path / "folder").files
    assert {p.name for p in (tmp_path / "folder").iterdir()} == {".lock", "store.json", "sources", "pictures"}
    assert all(Path(p).is_file() and (tmp_path / "folder") in Path(p).parents for p in files.values())
    with pytest.raises(DataError, match="is a file"):
        embed(means(), write_tif(scene), tmp_path / "scene.tif")


def test_a_real_twelve_band_scene_is_embedded(shared_data, tmp_path):
    scenes = sorted((shared_data / "satclip_s2_12band").rglob("*.tif"))
    if not scenes:
        pytest.skip("no satclip_s2_12band scenes in the shared data")
    bands = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
    role = RoleSpec(
        sensor="sentinel2-l2a",
        bands=bands,
        unit="reflectance",
        normaliser=ZScore(mean=(0.15,) * 12, std=(0.1,) * 12),
        gsd=(10, 10),
        gsd_required=True,
    )
    encoder = build_encoder(
        "vit",
        InputSpec(roles={"optical": role}, size_multiple=8),
        None,
        {"patch": 8, "width": 32, "depth": 2, "heads": 4},
    )
    model = load_model(save_model(encoder, tmp_path / "model", name="s2", image_size=64))
    with open_raster(scenes[0]) as raster:
        summary = embed_raster(model, raster, out=tmp_path / "scene.parquet", options=EmbedOptions(per="patch"))
        table = geopandas.read_parquet(tmp_path / "scene.parquet")
        own = geopandas.GeoSeries([shapely.box(*raster.bounds)], crs=raster.crs).to_crs(4326)
    assert (summary.rows, summary.dimension, summary.gsd) == (32 * 32, 32, 10.0)
    # The union of the cells is the scene, but for the curvature of its edges in degrees.
    assert table.geometry.union_all().symmetric_difference(own[0]).area < 1e-3 * own[0].area
    assert len({tuple(v) for v in table.vector}) > 1000


def test_a_scene_without_a_polygon_is_refused_before_any_work(means, write_tif, scene, tmp_path):
    path = write_tif(scene)
    with rasterio.open(path, "r+") as file:
        file.transform = rasterio.Affine(10, 0, 1e12, 0, -10, 1e12)
    with pytest.raises(DataError, match="no usable georeference"):
        embed(means(), path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("crs", "west", "north"), [("EPSG:32760", 817_100, 8e6), ("EPSG:3031", -480, 160)])
def test_scenes_at_180_degrees_and_at_the_pole_are_embedded_and_found_again(
    means, write_tif, scene, tmp_path, crs, west, north
):
    path = write_tif(scene[:, :64, :96])
    with rasterio.open(path, "r+") as file:
        file.transform, file.crs = rasterio.Affine(10, 0, west, 0, -10, north), crs
    embed(means(), path, tmp_path / "a.parquet")
    store = open_store(tmp_path / "a.parquet")
    to_degrees = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    for facts in store.rows(range(6)):
        point = to_degrees.transform(west + 10 * (facts["col"] + 16), north - 10 * (facts["row"] + 16))
        found = store.rows([row_at(store, point)])[0]
        assert (found["row"], found["col"]) == (facts["row"], facts["col"])
    table = geopandas.read_parquet(tmp_path / "a.parquet")
    assert len(table) == 6 and set(table.geom_type) <= {"Polygon", "MultiPolygon"} and table.is_valid.all()
    if crs == "EPSG:32760":
        assert "MultiPolygon" in set(table.geom_type)
        assert all(179.9 < abs(h.lon) <= 180 for h in search(store, point=point, k=5))
