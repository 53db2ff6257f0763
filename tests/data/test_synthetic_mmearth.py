"""The synthetic Earth in the layout of MMEarth: read back by the reader of the real thing."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import yaml
from PIL import Image as PIL
from typer import Typer
from typer.testing import CliRunner

from ecotone.cli import data_inspect, data_synth
from ecotone.data import MMEarth, open_dataset
from ecotone.data.catalog.mmearth_layout import LAYERS
from ecotone.data.synthetic import write_mmearth
from ecotone.errors import DataError, RecipeError

N, S = 72, 16
LAYOUT = {
    "sentinel2": ((13, S, S), "uint16"), "sentinel2_cloudmask": ((1, S, S), "uint16"),
    "sentinel2_cloudprod": ((1, S, S), "uint16"), "sentinel2_scl": ((1, S, S), "uint8"),
    "sentinel1": ((8, S, S), "float32"), "aster": ((2, S, S), "int16"), "era5": ((12,), "float32"),
    "dynamic_world": ((1, S, S), "uint8"), "canopy_height_eth": ((2, S, S), "int8"), "lat": ((2,), "float32"),
    "lon": ((2,), "float32"), "biome": ((14,), "uint8"), "eco_region": ((846,), "uint16"), "month": ((2,), "float32"),
    "esa_worldcover": ((1, S, S), "uint8"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_mmearth(tmp_path_factory.mktemp("synthetic") / "data_tiny", n=N, size=S, seed=3)


def test_the_file_has_the_official_arrays_types_and_chunks(folder):
    assert sorted(p.name for p in folder.iterdir()) == [
        "data_tiny.h5", "data_tiny_band_stats.json", "data_tiny_splits.json", "data_tiny_tile_info.json",
        "dataset.yaml",
    ]  # fmt: skip
    with h5py.File(folder / "data_tiny.h5") as file:
        assert set(file) == {*LAYOUT, "metadata"}
        for name, (shape, dtype) in LAYOUT.items():
            assert (file[name].shape, file[name].dtype) == ((N, *shape), dtype)
            assert (file[name].chunks, file[name].compression) == ((1, *shape), "gzip")
        assert file["metadata"].dtype == np.dtype([("tile_id", "S100"), ("S2_type", "S10")])
        assert file.attrs["ECOTONE_SYNTHETIC"] == "yes"
        levels = file["metadata"]["S2_type"]
        assert not file["sentinel2"][:][levels == b"l2a", 10].any()
        assert (file["sentinel2_scl"][:][levels == b"l1c"] == 255).all()


def test_it_says_that_it_is_synthetic(folder):
    assert yaml.safe_load((folder / "dataset.yaml").read_text())["synthetic"] is True
    info = open_dataset(folder).info
    assert info.synthetic and info.name.startswith("synthetic-") and info.split_kind == "spatial blocks"


def test_the_reader_finds_levels_gaps_and_splits(folder):
    dataset = open_dataset(folder)
    assert isinstance(dataset, MMEarth) and list(dataset.modalities) == list(LAYERS)
    samples = [dataset[i] for i in range(N)]
    assert {s.images["optical"].level for s in samples} == {"L1C", "L2A"}
    missing = np.stack([s.images["sentinel1"].pixels[0].isnan().all((-2, -1)).numpy() for s in samples])
    assert missing[:, [0, 1, 4, 5]].mean() < 0.3 and missing[:, [2, 3, 6, 7]].mean() > 0.85
    gaps = [s for s in samples if s.images["canopy_height_eth"].pixels.isnan().any()]
    assert 0 < len(gaps) < N / 4
    for sample in samples:
        assert sample.images["esa_worldcover"].pixels.max() <= 10
        assert 0 <= sample.targets["biome"] < 14 and 0 <= sample.targets["eco_region"] < 846
    train, val = open_dataset(folder, split="train"), open_dataset(folder, split="val")
    assert len(train) + len(val) == N and len(val) == 8
    places = [np.array([(d[i].place.lat, d[i].place.lon) for i in range(len(d))]) for d in (train, val)]
    assert np.abs(places[0][:, None] - places[1]).max(-1).min() > 0.02  # some 2 km


def test_statistics_are_those_of_the_values_that_are_not_missing(folder):
    stats = json.loads((folder / "data_tiny_band_stats.json").read_text())
    dataset = open_dataset(folder)
    samples = [dataset[i] for i in range(N)]
    for name in ("canopy_height_eth", "aster", "sentinel1"):
        pixels = np.concatenate([s.images[name].pixels[0].flatten(1).numpy() for s in samples], 1, dtype=np.float64)
        np.testing.assert_allclose(stats[name]["mean"][:2], np.nanmean(pixels, 1)[:2], rtol=1e-6)
        np.testing.assert_allclose(stats[name]["std"][:2], np.nanstd(pixels, 1)[:2], rtol=1e-6)
    weather = np.stack([s.targets["era5"].double().numpy() for s in samples])
    np.testing.assert_allclose(stats["era5"]["mean"], np.nanmean(weather, 0), rtol=1e-6)
    assert np.isnan(stats["sentinel2_l2a"]["mean"][10]) and np.isfinite(stats["sentinel2_l1c"]["mean"][10])
    assert stats["sentinel2_l1c"]["mean"][0] > stats["sentinel2_l2a"]["mean"][0]  # haze


def test_weather_and_maps_go_with_the_imagery(folder):
    dataset = open_dataset(folder)
    samples = [dataset[i] for i in range(N)]
    elevation = np.array([float(s.images["aster"].pixels[0, 0].mean()) for s in samples])
    lat = np.array([s.place.lat for s in samples])
    year = np.array([float(s.targets["era5"][8]) for s in samples])
    fit = np.linalg.lstsq(np.stack([elevation, lat, np.ones(N)], 1), year, rcond=None)[0]
    assert -0.010 < fit[0] < -0.003 and -1.1 < fit[1] < -0.4  # K per m, K per degree
    month = np.array([s.images["optical"].times[0].month for s in samples])
    now = np.array([float(s.targets["era5"][4]) for s in samples])
    assert now[(month > 5) & (month < 9)].mean() > now[(month < 3) | (month > 10)].mean() + 8
    for sample in samples:
        trees = sample.images["esa_worldcover"].pixels[0, 0] == 0
        height = sample.images["canopy_height_eth"].pixels[0, 0]
        assert not (height[trees] < 2).any()
        np.testing.assert_allclose(np.arctan2(*sample.targets["lat"]) * 180 / np.pi, sample.place.lat, atol=1e-3)


def test_a_smaller_size_is_the_middle_of_the_same_tiles(folder, tmp_path):
    small = MMEarth(write_mmearth(tmp_path / "small", n=3, size=8, seed=3))
    assert (tmp_path / "small" / "data_small.h5").is_file()
    for i in range(3):
        large, part = MMEarth(folder)[i], small[i]
        assert part.place == large.place
        middle = large.images["aster"].pixels[..., 4:12, 4:12]
        np.testing.assert_allclose(part.images["aster"].pixels, middle, atol=1)


def test_the_same_seed_writes_the_same_tiles(folder, tmp_path):
    again = MMEarth(write_mmearth(tmp_path / "again", n=2, size=S, seed=3))
    other = MMEarth(write_mmearth(tmp_path / "other", n=2, size=S, seed=4))
    first = MMEarth(folder)
    for i in range(2):
        for role, image in first[i].images.items():
            np.testing.assert_array_equal(again[i].images[role].pixels, image.pixels)
    assert not np.array_equal(other[0].images["optical"].pixels, first[0].images["optical"].pixels)


@pytest.mark.parametrize("bad", [{"n": 0}, {"n": 10**6}, {"size": 0}, {"size": 130}])
def test_numbers_that_make_no_dataset_are_refused_and_leave_nothing(tmp_path, bad):
    with pytest.raises(DataError, match="tiles of 1 to 128 pixels"):
        write_mmearth(tmp_path / "out", **({"n": 2, "size": 8} | bad))
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def run():
    app = Typer()
    app.callback()(lambda: None)
    data_synth.register(app)
    data_inspect.register(app)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_verb_writes_tiles_and_inspect_shows_every_modality(run, tmp_path):
    out, sheet, figures = tmp_path / "data_x", tmp_path / "sheet.png", tmp_path / "figures.json"
    done = run("synth", "--out", out, "--kind", "mmearth", "--count", 6, "--size", 12, "--json", tmp_path / "made.json")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "made.json").read_text())["tiles"] == 6
    done = run("inspect", out, "--picture", sheet, "--json", figures)
    assert done.exit_code == 0, done.output
    found = json.loads(figures.read_text())
    assert list(found["modalities"]) == list(LAYERS)
    assert found["modalities"]["sentinel1"]["missing_by_channel"]["asc_VV"] < 1
    assert found["modalities"]["lat"]["missing_share"] == 0
    assert found["synthetic"] is True
    width, height = PIL.open(sheet).size
    assert width > 1200 and height > 600


def test_a_date_or_another_gsd_is_refused(run, tmp_path):
    for option, value in (("--gsd", 20), ("--date", "2021-05-05")):
        done = run("synth", "--out", tmp_path / "x", "--kind", "mmearth", option, value)
        assert isinstance(done.exception, RecipeError)
    assert not (tmp_path / "x").exists()
