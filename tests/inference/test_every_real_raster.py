"""Every raster of the real imagery at hand is embedded by a model that fits it, or refused with a sentence why.

A model that fits is built for each kind of raster; what a file does not say of itself is declared, as its owner would.
"""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from typer.testing import CliRunner

from ecotone.cli import app
from ecotone.embeddings import open_store
from ecotone.encoders import build_encoder
from ecotone.errors import EcotoneError
from ecotone.inference import EmbedOptions, embed_raster
from ecotone.inputs import Identity, InputSpec, RoleSpec
from ecotone.rasters import list_sources
from ecotone.sensors import sensor
from ecotone.weights import load_model, save_model

GRID = Affine(10, 0, 600000, 0, -10, 5000000)
# model: sensor, bands (all where empty), unit, metres per pixel
MODELS = {
    "sentinel-2": ("sentinel2-l2a", (), "reflectance", (8, 12)),
    "sentinel-2 l1c": ("sentinel2-l1c", (), "reflectance", (8, 12)),
    "sentinel-1": ("sentinel1-grd", ("VV", "VH"), "dB", (8, 12)),
    "landsat": ("landsat7-etm", (), "dn", (25, 35)),
    "landsat colours": ("landsat7-etm", ("B4", "B3", "B2"), "dn", (60, 100)),
    "colours": ("rgb", (), "uint8", None),
    "elevation": ("dem", (), "metre", (5, 30)),
    "hls": ("hls-s30", (), "reflectance", (25, 35)),
}
L1C = {"sensor": "sentinel2-l1c"}
TERRA_L2A = {"sensor": "sentinel2-l2a", "unit": "reflectance x 10000"}
RTC = {"bands": ["VV", "VH"], "sensor": "sentinel1-grd"}
DEM = {"sensor": "dem"}
TM = {"sensor": "landsat7-etm", "bands": ["B1", "B2", "B3", "B4", "B5", "B7"], "unit": "dn"}
NO_PLACE = "no usable georeference, so its embeddings would have no place"
FIXTURES, TERRA, TAIZHOU = "geotiff_fixtures", "terramesh_examples", "landsat_cd/Taizhou"
# scene: model, what its owner declares, embeddings of 32 x 32 pixels or the words of the refusal
TABLE = {
    f"{FIXTURES}/bigearthnet_v1_patch": ("sentinel-2", {}, 16),  # 12 files, one for each band
    f"{FIXTURES}/copernicus_fm/s2_l1c_13band_264.tif": ("sentinel-2 l1c", L1C, 64),
    f"{FIXTURES}/opengeo/LE70220491999322EDC01_stack.gtif": ("landsat", {}, 64),
    f"{FIXTURES}/opengeos_landsat/1985.tif": ("landsat colours", {}, "lack 3 bands that the model needs: B4, B3, B2; "),
    f"{FIXTURES}/opengeos_landsat/2020.tif": ("landsat colours", {}, "found 4 bands (band1, band2, band3, band4)"),
    f"{FIXTURES}/rasterio/RGB.byte.tif": ("colours", {}, 375),
    f"{FIXTURES}/sen1floods11/Spain_7370579_LabelHand.tif": ("sentinel-2", {}, "found 1 band (band1)"),
    f"{FIXTURES}/sen1floods11/Spain_7370579_S1Hand.tif": ("sentinel-1", {}, 256),
    f"{FIXTURES}/sen1floods11/Spain_7370579_S2Hand.tif": ("sentinel-2 l1c", {}, 256),
    f"{FIXTURES}/solaris/sample_geotiff.tif": ("colours", {}, "lack 3 bands that the model needs: R, G, B"),
    f"{FIXTURES}/stars/L7_ETMs.tif": ("landsat", TM, 121),
    f"{FIXTURES}/terratorch/hls_10band_224.tif": ("hls", {"sensor": "hls-s30"}, "found 10 bands (band1, band2, "),
    f"{TAIZHOU}/2000TM": ("landsat", {}, 168),
    f"{TAIZHOU}/2003TM": ("landsat", {}, 168),
    f"{TAIZHOU}/change.bmp": ("colours", {}, NO_PLACE),
    f"{TAIZHOU}/unchanged.bmp": ("colours", {}, NO_PLACE),
    f"{TAIZHOU}/taizhou2000.jpg": ("colours", {}, NO_PLACE),
    f"{TAIZHOU}/taizhou2003.jpg": ("colours", {}, NO_PLACE),
    **{
        f"satclip_s2_12band/tif/patch_{number}.tif": ("sentinel-2", {}, 64)
        for number in (286743, 33188, 526850, 566084, 61808, 75123, 759128, 766272)
    },
    **{
        f"{TERRA}/{kind}/{name}.tif": row
        for name in ("282D_485L_3_3", "637U_59R_1_3")
        for kind, row in {
            "DEM": ("elevation", DEM, 49),
            "LULC": ("sentinel-2", {}, "lack 12 bands"),
            "S1RTC": ("sentinel-1", RTC, 49),
            "S2L1C": ("sentinel-2 l1c", L1C, 49),
            "S2L2A": ("sentinel-2", TERRA_L2A, 49),
        }.items()
    },
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    found = {}

    def make(name):
        if name not in found:
            sensor_name, bands, unit, gsd = MODELS[name]
            bands = bands or sensor(sensor_name).band_names
            role = RoleSpec(sensor=sensor_name, bands=bands, unit=unit, normaliser=Identity(), gsd=gsd)
            torch.manual_seed(0)
            config = {"patch": 16, "width": 16, "depth": 1, "heads": 2}
            encoder = build_encoder("vit", InputSpec(roles={"optical": role}, size_multiple=16), None, config)
            folder = tmp_path_factory.mktemp("models") / name.replace(" ", "-")
            found[name] = load_model(save_model(encoder, folder, name=name, image_size=32))
        return found[name]

    return make


def test_the_table_holds_every_scene_of_these_folders(shared_data):
    folders = [shared_data / name for name in (FIXTURES, "landsat_cd", "satclip_s2_12band", TERRA)]
    scenes = {s.path: s for s in list_sources(folders)}
    assert {Path(str(p)).relative_to(shared_data).as_posix() for p in scenes} == set(TABLE)


@pytest.mark.parametrize("scene", TABLE)
def test_a_real_scene_is_embedded_or_refused_in_one_sentence(shared_data, models, tmp_path, scene):
    name, declared, expected = TABLE[scene]
    (source,) = list_sources(shared_data / scene)
    out, options = tmp_path / "a.parquet", EmbedOptions(batch_size=64)
    if isinstance(expected, str):
        with pytest.raises(EcotoneError, match=re.escape(expected)), source.open(**declared) as raster:
            embed_raster(models(name), raster, out=out, options=options)
        assert list(tmp_path.iterdir()) == []
        return
    with warnings.catch_warnings(), source.open(**declared) as raster:
        warnings.simplefilter("error", UserWarning)
        summary = embed_raster(models(name), raster, out=out, options=options)
        own = raster.place
    store = open_store(out)
    assert summary.rows == len(store) == expected
    west, south, east, north = store.bounds
    assert own and west < own.lon < east and south < own.lat < north
    assert store.facts.dimension == 16 and len({tuple(v) for v in store.vectors}) > 0.5 * expected  # flat sea is alike


def write(path, pixels, transform=GRID, crs="EPSG:32632", nodata=0):
    shape = {"count": 3, "height": pixels.shape[1], "width": pixels.shape[2], "dtype": "uint8", "nodata": nodata}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, photometric="rgb", **shape) as file:
        file.write(pixels)
    return path


def test_a_folder_of_odd_scenes_gives_a_store_and_a_quarantine_with_reasons(models, tmp_path):
    """From the command line: what can be embedded is, the rest is named with its reason, and the exit code says so."""
    pixels = np.random.default_rng(0).integers(1, 255, (3, 64, 64), dtype=np.uint8)
    folder = tmp_path / "scenes"
    folder.mkdir()
    write(folder / "good.tif", pixels)
    write(folder / "rotated.tif", pixels, Affine(8, 6, 600000, 6, -8, 5000000))
    write(folder / "small.tif", pixels[:, :9, :7])  # less than one patch, and than half a window
    write(folder / "empty.tif", 0 * pixels)
    write(folder / "nowhere.tif", pixels, crs=None, transform=Affine.identity())
    write(folder / "date-line.tif", pixels, Affine(10, 0, 817_200, 0, -10, 8e6), "EPSG:32760")
    write(folder / "pole.tif", pixels, Affine(10, 0, -300, 0, -10, 400), "EPSG:3031")
    whole = write(folder / "truncated.tif", pixels).read_bytes()
    (folder / "truncated.tif").write_bytes(whole[: len(whole) // 2])
    (folder / "text.tif").write_text("no raster")
    model = models("colours").folder
    arguments = ["embed", str(folder), "--model", str(model), "--out", str(tmp_path / "store"), "--json", "-"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1 and "Traceback" not in result.output
    told = json.loads(result.stdout)
    reasons = {Path(path).name: reason for path, reason in told["quarantine"].items()}
    words = {
        "small.tif": "has enough valid pixels",
        "empty.tif": "has enough valid pixels",
        "nowhere.tif": "no usable georeference",
        "truncated.tif": "cannot read",
        "text.tif": "cannot read",
    }
    assert set(reasons) == set(words)
    assert all(words[name] in reason and "\n" not in reason for name, reason in reasons.items())
    store = open_store(tmp_path / "store")
    assert len(store) == 4 * 4 and len(store.parts) == 4
