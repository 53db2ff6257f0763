"""Models of several roles: one raster for each, on one grid, through embed, predict, search and the command line."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from test_predict import CLASSES, loaded
from torch import nn
from typer.testing import CliRunner

import ecotone
from ecotone.cli import app
from ecotone.embeddings import open_source, open_store
from ecotone.encoders import Encoder, Features, encoder_kinds
from ecotone.errors import DataError, InputError
from ecotone.heads import LinearHead, PixelHead
from ecotone.inference import EmbedOptions, PredictOptions, embed_query, embed_raster, embed_sources
from ecotone.inference.answering import Answering
from ecotone.inference.dense import dense_rows
from ecotone.inference.predict_scenes import predict_scenes
from ecotone.inference.prediction_job import Job
from ecotone.inputs import Identity, InputSpec, RoleSpec
from ecotone.rasters import list_sources, open_raster
from ecotone.rasters.tiling import Tiling
from ecotone.weights import load_model, save_model, save_predictor

GRID = Affine(10, 0, 600_000, 0, -10, 5_300_000)


class Pair(Encoder):
    """Two 3 x 3 convolutions over both roles side by side, then means over patches."""

    kind = "pair"

    def __init__(self, spec, readout=None, *, patch=8):
        super().__init__(spec, readout)
        bands, self.patch = sum(len(role.bands) for role in spec.roles.values()), patch
        self.layers = nn.Sequential(nn.Conv2d(bands, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 6, 3, padding=1))

    @property
    def width(self):
        return 6

    def config(self):
        return {"patch": self.patch}

    def forward_intermediates(self, prepared, layers):
        optical, radar = (prepared[role].pixels[:, 0] for role in self.spec.roles)
        grid = nn.functional.avg_pool2d(self.layers(torch.cat([optical / 255, radar / 10], 1)), self.patch)
        return Features(maps=[grid], strides=[self.patch], pooled=grid.mean((-2, -1)))

    def forward_features(self, prepared, keep=None):
        return self.forward_intermediates(prepared, (-1,))


@pytest.fixture
def kinds(tmp_path, monkeypatch):
    """The encoder comes in an installed package, as those of others do."""
    info = tmp_path / "site" / "pair-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pair\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[ecotone.encoders]\npair = {__name__}:Pair\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    encoder_kinds.cache_clear()
    yield
    encoder_kinds.cache_clear()


def both(patch=8, optical=("rgb", ("R", "G", "B"), "uint8"), gsd=(5, 20)):
    torch.manual_seed(0)
    sensors = {"optical": optical, "sentinel1": ("sentinel1-grd", ("VV", "VH"), "dB")}
    roles = {
        role: RoleSpec(sensor=name, bands=bands, unit=unit, normaliser=Identity(), gsd=gsd)
        for role, (name, bands, unit) in sensors.items()
    }
    return Pair(InputSpec(roles=roles, size_multiple=patch), patch=patch)


@pytest.fixture
def pair_folder(kinds, tmp_path):
    return save_model(both(), tmp_path / "pair", name="pair", image_size=32)


def dense():
    head = PixelHead(features=6, outputs=3)
    torch.manual_seed(1)
    nn.init.normal_(head.linear.weight, std=20)
    return loaded(both(1), head)


@pytest.fixture
def radar():
    """(2, 80, 100) decibels."""
    return np.random.default_rng(1).uniform(-25, 0, (2, 80, 100)).astype(np.float32)


@pytest.fixture
def files(write_tif, scene, radar):
    """The two files of one place."""
    return write_tif(scene, "s2.tif"), write_tif(radar, "s1.tif", bands=("VV", "VH"))


@pytest.fixture
def opened(files):
    with open_raster(files[0], sensor="rgb") as optical, open_raster(files[1]) as radar:
        yield {"optical": optical, "sentinel1": radar}


def features(encoder, scene, radar):
    """The map of one forward pass over everything."""
    pixels = torch.cat([torch.from_numpy(scene) / 255, torch.from_numpy(radar) / 10]).unsqueeze(0)
    with torch.no_grad():
        return nn.functional.avg_pool2d(encoder.layers(pixels), encoder.patch)


def test_tiles_of_both_roles_equal_the_whole_image(opened, scene, radar):
    predictor = dense()
    tiling = Tiling(scene.shape[1:], 32, 24, "crop")
    got = torch.cat([r.answers for r in dense_rows(Answering(predictor.predictor, opened), tiling, 4)], 1)
    whole = features(predictor.predictor.encoder, scene, radar)
    with torch.no_grad():
        expected = predictor.predictor.head(Features([whole], [1], whole.mean((-2, -1)))).softmax(1)[0]
    assert torch.allclose(got, expected, atol=1e-5)


def test_the_order_of_the_rasters_does_not_matter_and_both_are_recorded(pair_folder, opened, files, tmp_path):
    model, options = load_model(pair_folder), EmbedOptions(per="patch")
    turned = dict(reversed(opened.items()))
    embed_raster(model, opened, out=tmp_path / "a.parquet", options=options)
    embed_raster(model, turned, out=tmp_path / "b.parquet", options=options)
    store, other = open_store(tmp_path / "a.parquet"), open_store(tmp_path / "b.parquet")
    assert np.array_equal(store.vectors, other.vectors) and len(store) == 10 * 13
    facts = store.parts[0].facts
    assert facts.uri == other.parts[0].facts.uri == str(files[0])
    assert list(facts.others) == ["sentinel1"] and facts.others["sentinel1"].paths == (str(files[1]),)
    assert facts.others["sentinel1"].bands == ("VV", "VH")
    assert facts.stamp is not None and len(facts.stamp.split()) == 2
    with open_source(store.parts[0]) as again:
        assert again.paths == (str(files[0]),)


def test_only_where_both_were_observed_there_is_something(pair_folder, write_tif, scene, radar, opened, tmp_path):
    scene[:, :16, :16] = 0
    radar[:, 64:, 48:] = np.nan
    one, two = write_tif(scene, "a.tif", nodata=0), write_tif(radar, "b.tif", bands=("VV", "VH"))
    with open_raster(one, sensor="rgb") as optical, open_raster(two) as other:
        rasters = {"optical": optical, "sentinel1": other}
        summary = embed_raster(
            load_model(pair_folder), rasters, out=tmp_path / "a.parquet", options=EmbedOptions(per="patch")
        )
        made = ecotone.inference.predict_raster(dense(), rasters, out=tmp_path / "map.tif")
    assert (summary.rows, summary.dropped) == (130 - 4 - 2 * 7, 4 + 2 * 7)
    with rasterio.open(made.files["map"]) as file:
        assert np.array_equal(file.read(1) == 255, (scene == 0).all(0) | np.isnan(radar).any(0))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"crs": "EPSG:32633"}, r"CRS differ; found EPSG:32633; expected EPSG:32632\."),
        ({"transform": GRID @ Affine.translation(0.5, 0)}, r"corners differ; found \(600005\.0, 5300000\.0, "),
        ({"height": 79}, r"size and corners differ; found 79 x 100 pixels, .* expected 80 x 100 pixels"),
    ],
)
def test_rasters_of_other_grids_are_refused_with_the_command_that_mends_it(opened, radar, tmp_path, change, words):
    profile = {"driver": "GTiff", "crs": "EPSG:32632", "transform": GRID, "height": 80, "width": 100, **change}
    path = tmp_path / "other.tif"
    with rasterio.open(path, "w", count=2, dtype="float32", **profile) as file:
        file.write(radar[:, : profile["height"]])
        file.descriptions = ("VV", "VH")
    mend = rf"gdalwarp -t_srs EPSG:32632 -te 600000 5299200 601000 5300000 -ts 100 80 -r bilinear {path} "
    with open_raster(path) as other, pytest.raises(DataError, match=rf"sentinel1 raster {path} .*{words}.*{mend}"):
        Answering(dense().predictor, {**opened, "sentinel1": other})


def test_a_role_too_few_or_too_many_is_refused(pair_folder, opened, files, means, tmp_path):
    model, words = load_model(pair_folder), "one raster for each of its roles; found {}; expected optical, sentinel1"
    for given, found in (({"optical": opened["optical"]}, "optical"), ({**opened, "dem": opened["optical"]}, "dem")):
        with pytest.raises(InputError, match=words.format(f".*{found}")):
            embed_raster(model, given, out=tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a single raster cannot feed this model.*the roles optical, sentinel1"):
        embed_raster(model, opened["optical"], out=tmp_path / "a.parquet")
    with pytest.raises(InputError, match="a single raster"):
        embed_sources(model, list_sources(files[0]), out=tmp_path / "store")
    with pytest.raises(InputError, match="a single raster"):
        predict_scenes(dense(), list_sources(files[0]), out=tmp_path / "maps")
    with pytest.raises(InputError, match="found optical, sentinel1; expected optical"):
        embed_raster(means(), opened, out=tmp_path / "a.parquet")


def test_another_second_raster_is_another_job_and_its_file_says_both(opened, write_tif, radar, files, tmp_path):
    predictor, options = dense(), PredictOptions(overlap=8)
    before = Job(predictor, opened, options)
    write_tif(radar + 1, "s1.tif", bands=("VV", "VH"))
    assert Job(predictor, opened, options).settings != before.settings
    assert before.tags["source"] == "s2.tif, s1.tif"


def test_both_are_resampled_to_the_gsd_of_the_first(opened):
    job = Job(dense(), opened, PredictOptions(at_gsd=20))
    assert job.shape == (40, 50)
    assert {r.gsd for r in job.answering.feed.rasters.values()} == {20.0}


def test_three_lines_of_python_and_a_query_of_both(pair_folder, kinds, files, opened, tmp_path, monkeypatch):
    monkeypatch.setenv("ECOTONE_CACHE", str(tmp_path / "cache"))
    model = ecotone.load(pair_folder)
    paths = {"optical": files[0], "sentinel1": files[1]}
    store = model.embed(paths, chip=16)
    assert len(store) == 5 * 6 and model.embed(paths, chip=16).path == store.path
    assert np.allclose(embed_query(model.model, opened, store), store.vectors.mean(0), atol=1e-5)
    with pytest.raises(ecotone.EcotoneError, match="rasters by role are taken as they are; found gsd"):
        model.embed(paths, gsd=3.0)


def run(*words):
    return CliRunner().invoke(app, [str(w) for w in (*words, "--device", "cpu")])


def test_the_command_line_embeds_and_predicts_with_both(pair_folder, files, scene, radar, tmp_path):
    head = LinearHead(features=6, outputs=3)
    nn.init.normal_(head.linear.weight, std=20)
    kept = {}
    for name, made in (("dense", dense()), ("images", loaded(both(), head, "classification"))):
        kept[name] = save_predictor(made.predictor, tmp_path / name, name=name, image_size=32)
    given = (files[0], "--with", f"sentinel1={files[1]}", "--sensor", "rgb")
    done = run("embed", *given, "--model", pair_folder, "--out", tmp_path / "a.parquet", "--per", "patch")
    assert done.exit_code == 0, done.output
    store = open_store(tmp_path / "a.parquet")
    whole = features(both(), scene, radar)[0, :, 1, 1]  # a cell that sees no edge of its window
    (row,) = [i for i, r in enumerate(store.rows(list(range(len(store))))) if (r["row"], r["col"]) == (8, 8)]
    assert np.allclose(store.vectors[row], whole.numpy(), atol=1e-5)
    for name, shape in (("dense", [80, 100]), ("images", [3, 4])):
        words = ("--model", kept[name], "--out", tmp_path / f"{name}.tif", "--json", tmp_path / "p.json")
        done = run("predict", *given, *words)
        assert done.exit_code == 0, done.output
        (made,) = json.loads((tmp_path / "p.json").read_text())["predicted"].values()
        assert made["shape"] == shape
        with rasterio.open(made["files"]["map"]) as file:
            assert file.tags()["source"] == "s2.tif, s1.tif" and json.loads(file.tags()["classes"]) == list(CLASSES)
    done = run("embed", *given, "--model", pair_folder, "--out", tmp_path / "store")
    assert done.exit_code == 0 and len(open_store(tmp_path / "store").parts[0].facts.others) == 1


def test_mistakes_on_the_command_line_are_one_sentence(pair_folder, files, tmp_path):
    optical, radar = files
    words = ("embed", optical, "--sensor", "rgb", "--model", pair_folder, "--out", tmp_path / "a.parquet")
    for more, sentence in (
        ((), r"one raster for each of its roles; found optical; expected optical, sentinel1"),
        (("--with", f"optical={radar}"), r"SOURCE is the optical raster"),
        (("--with", f"sentinel2={radar}"), r"names no role of the model.*Did you mean 'sentinel1'"),
        (("--with", radar), r"names no role of the model.*expected ROLE=PATH"),
        (("--with", f"sentinel1={radar}x"), r"no file|cannot read"),
        ((radar, "--with", f"sentinel1={radar}"), r"--with goes with one scene; found 2 scenes"),
    ):
        done = run(*words, *more)
        assert done.exit_code == 1 and re.search(sentence, str(done.exception)), done.output
    assert not list(tmp_path.glob("a.*"))


def test_a_real_pair_of_sentinel_1_and_2_is_embedded_and_predicted(kinds, shared_data, tmp_path):
    folder = shared_data / "geotiff_fixtures/sen1floods11"
    colours = ("sentinel2-l1c", ("B4", "B3", "B2"), "reflectance")
    model = load_model(save_model(both(optical=colours, gsd=(8, 12)), tmp_path / "real", name="real", image_size=64))
    kept = save_predictor(
        loaded(both(1, colours, (8, 12)), PixelHead(features=6, outputs=3)).predictor,
        tmp_path / "head",
        name="head",
        image_size=64,
    )
    optical, radar = (folder / f"Spain_7370579_{name}Hand.tif" for name in ("S2", "S1"))
    given = (optical, "--with", f"sentinel1={radar}", "--model")
    done = run("embed", *given, model.folder, "--out", tmp_path / "a.parquet", "--per", "patch", "--overlap", "16")
    assert done.exit_code == 0, done.output
    store = open_store(tmp_path / "a.parquet")
    with rasterio.open(optical) as first, rasterio.open(radar) as second:
        seen = np.isfinite(second.read()).all(0) & (first.read() > 0).any(0)
    cells = seen.reshape(64, 8, 64, 8).mean((1, 3))
    assert len(store) == (cells >= 0.5).sum()
    with rasterio.open(radar) as second:
        alone = second.read().reshape(2, 64, 8, 64, 8).mean((2, 4))
    place = {(r["row"] // 8, r["col"] // 8): i for i, r in enumerate(store.rows(list(range(len(store)))))}
    vv = np.array([alone[0][at] for at in place if np.isfinite(alone[0][at])])
    found = store.vectors[[i for at, i in place.items() if np.isfinite(alone[0][at])]]
    explained = np.linalg.lstsq(np.column_stack([found, np.ones(len(found))]), vv, rcond=None)[1] / vv.var() / len(vv)
    assert explained < 0.5  # the vectors know the radar
    done = run("predict", *given, kept, "--out", tmp_path / "map.tif")
    assert done.exit_code == 0, done.output
    with rasterio.open(tmp_path / "map.tif") as file, rasterio.open(optical) as first:
        assert (file.shape, file.crs, file.transform) == (first.shape, first.crs, first.transform)
        assert np.array_equal(file.read(1) != 255, seen)
