"""The MMEarth reader on a tiny file of the official layout, written here."""

from __future__ import annotations

import json
import math
import pickle

import h5py
import numpy as np
import pytest
import torch

import ecotone.data.catalog.mmearth_tables as tables
from ecotone.data import Cached, DataStream, MMEarth, modalities_of, open_dataset
from ecotone.data.catalog.mmearth_layout import LAYERS, SENTINEL1, SENTINEL2
from ecotone.errors import DataError
from ecotone.inputs import InputSpec, RoleSpec
from ecotone.randomness import SampleRandom
from ecotone.samples import collate
from ecotone.transforms import Flip, QuarterTurn, RandomCrop, RandomResizedCrop

N, S = 6, 16
DTYPES = {
    "sentinel2": "uint16", "sentinel1": "float32", "aster": "int16", "era5": "float32", "dynamic_world": "uint8",
    "canopy_height_eth": "int8", "lat": "float32", "lon": "float32", "biome": "uint8", "eco_region": "uint16",
    "month": "float32", "esa_worldcover": "uint8",
}  # fmt: skip
ORDER = [
    "sentinel2", "sentinel1", "aster", "era5", "dynamic_world", "canopy_height_eth", "lat", "lon", "biome",
    "eco_region", "month", "esa_worldcover",
]  # fmt: skip


def arrays(size: int = S, n: int = N) -> dict[str, np.ndarray]:
    """Tiles whose pixel (y, x) is worth 100 y + x + 1 in every band, so that crops of any modality can be compared."""
    rng = np.random.default_rng(0)
    place = (100 * np.arange(size)[:, None] + np.arange(size) + 1) % 30_000
    made = {}
    for name, layer in LAYERS.items():
        shape = (n, layer.stored, size, size) if layer.scope == "pixel" else (n, layer.stored)
        made[name] = np.broadcast_to(place, shape).copy() if layer.scope == "pixel" else rng.normal(size=shape)
    made["sentinel1"] = made["sentinel1"].astype("float32")
    made["dynamic_world"] = made["dynamic_world"] % 9 + 1
    made["esa_worldcover"] = np.array([10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100])[made["esa_worldcover"] % 11]
    made["canopy_height_eth"] = made["canopy_height_eth"] % 50
    for name in ("biome", "eco_region"):
        made[name] = np.eye(LAYERS[name].stored)[rng.integers(0, 14, n)]
    made["sentinel2"][1::2, SENTINEL2.index("B10")] = 0
    return made


def facts(i: int) -> dict:
    l2a = i % 2 == 1
    bands = [b for b in SENTINEL2 if b != "B10"] + ["MSK_CLDPRB", "SCL", "QA60"] if l2a else [*SENTINEL2, "QA60"]
    return {
        "S2_DATE": f"2019-07-{i % 20 + 10}", "S2_type": "l2a" if l2a else "l1c", "CRS": "EPSG:32632",
        "lat": 48.5 + i, "lon": 8.5, "biome": 3, "eco_region": 4, "NO_DATA": False,
        "BANDS": {
            "sentinel2": bands, "sentinel1_asc": ["VV", "VH", "HH", "HV"], "sentinel1_desc": ["VV", "VH", "HH", "HV"],
            "aster": ["b1", "slope"], "era5": ["x"] * 12, "dynamic_world": ["label"],
            "canopy_height_eth": ["height", "std"], "esa_worldcover": ["Map"],
        },
    }  # fmt: skip


def write(folder, data=None, info=None, splits=None, stats=None, stem="data_1M_v001_64", ids=None):
    folder.mkdir(exist_ok=True)
    data = arrays() if data is None else data
    n = len(data["sentinel2"]) if "sentinel2" in data else N
    ids = ids or [f"{7 * i + 3}" for i in range(n)]
    with h5py.File(folder / f"{stem}.h5", "w") as file:
        for name, values in data.items():
            chunks = (1, *values.shape[1:])
            file.create_dataset(name, data=values.astype(DTYPES[name]), chunks=chunks, compression="gzip")
        kind = np.dtype([("tile_id", "S100"), ("S2_type", "S10")])
        file["metadata"] = np.array([(k, facts(i)["S2_type"]) for i, k in enumerate(ids)], dtype=kind)
    info = {k: facts(i) for i, k in enumerate(ids)} if info is None else info
    if stats is None:
        bands = {name: {"mean": [1.0] * layer.stored, "std": [2.0] * layer.stored} for name, layer in LAYERS.items()}
        dropped = [math.nan if b == "B10" else 1.0 for b in SENTINEL2]
        stats = bands | {"sentinel2_l1c": bands["sentinel2"], "sentinel2_l2a": {"mean": dropped, "std": [4.0] * 13}}
    splits = {"train": [5, 0, 3, 1, 2, 4], "val": [], "test": []} if splits is None else splits
    for tail, content in (("tile_info", info), ("splits", splits), ("band_stats", stats)):
        (folder / f"{stem}_{tail}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("mmearth"))


def test_a_sample_holds_all_modalities_with_bands_units_level_and_place(folder):
    dataset = open_dataset(folder)
    assert isinstance(dataset, MMEarth)
    assert list(dataset.modalities) == ORDER
    sample = dataset[3]
    optical = sample.images["optical"]
    assert optical.bands == ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8A", "B8", "B9", "B11", "B12")
    assert (optical.unit.name, optical.gsd, optical.level) == ("reflectance x 10000", 10.0, "L2A")
    assert optical.sensor == "sentinel2-l2a"
    assert optical.times[0].isoformat().startswith("2019-07-13")
    assert sample.images["sentinel1"].bands == SENTINEL1
    assert sample.images["aster"].bands == ("elevation", "slope")
    assert set(sample.targets) == {"era5", "lat", "lon", "biome", "eco_region", "month"}
    assert (sample.place.lat, sample.place.lon, sample.place.crs) == (51.5, 8.5, "EPSG:32632")
    assert sample.key == dataset.keys()[3] == "24"
    for modality in dataset.modalities.values():
        if modality.scope == "pixel":
            image = sample.images[modality.role]
            assert modality.kind == "categorical" or image.bands == modality.channels
            assert image.unit.name == modality.unit
        else:
            value = sample.targets[modality.role]
            assert isinstance(value, int) or value.shape == (len(modality.channels),)


def test_b8a_comes_before_b8_and_bands_are_chosen_by_name(tmp_path):
    data = arrays()
    for c, _ in enumerate(SENTINEL2):
        data["sentinel2"][:, c] = 1000 + c
    write(tmp_path, data)
    assert MMEarth(tmp_path)[0].images["optical"].pixels[0, 7:9, 0, 0].tolist() == [1007, 1008]
    chosen = MMEarth(tmp_path, bands=["B8", "B8A", "B4"])
    assert chosen[0].images["optical"].pixels[0, :, 0, 0].tolist() == [1008, 1007, 1003]
    assert chosen.modalities["sentinel2"].channels == ("B8", "B8A", "B4")


def test_what_is_not_there_is_missing_in_the_fixed_mode(tmp_path):
    data, info = arrays(), {str(7 * i + 3): facts(i) for i in range(N)}
    data["sentinel2"][0, :, :4] = 0  # no scene
    data["sentinel2"][0, 2, 8] = 0  # one dark band
    data["sentinel1"][0, 2:] = -np.inf
    info["3"]["BANDS"]["sentinel1_asc"] = ["VV"]
    data["canopy_height_eth"][0, :, :5] = 127
    data["dynamic_world"][0, :, :3] = 0
    data["esa_worldcover"][0, :, :2] = 0
    data["era5"][0, 3] = np.nan
    data["biome"][0] = 0
    data["eco_region"][0] = 65535
    info["17"]["BANDS"]["aster"] = None
    del info["17"]["BANDS"]["canopy_height_eth"], info["17"]["BANDS"]["esa_worldcover"]
    fixed, released = (MMEarth(write(tmp_path, data, info), mode=m) for m in ("fixed", "as-released"))
    sample = fixed[0]
    optical = sample.images["optical"]
    assert optical.pixels[0, :, :4].isnan().all() and optical.pixels[0, :, 4:].isfinite().all()
    assert torch.equal(optical.valid[0], torch.arange(S)[:, None].expand(S, S) >= 4)
    radar = sample.images["sentinel1"].pixels[0]
    assert [bool(c.isnan().all()) for c in radar] == [False, *[True] * 7]
    assert sample.images["canopy_height_eth"].pixels.isnan().sum() == 2 * 5 * S
    assert (sample.images["dynamic_world"].pixels == -1).sum() == 3 * S
    assert (sample.images["esa_worldcover"].pixels == -1).sum() == 2 * S
    assert sample.images["esa_worldcover"].pixels.max() == 10 and (sample.images["esa_worldcover"].pixels == 0).any()
    assert sample.targets["era5"].isnan().tolist() == [i == 3 for i in range(12)]
    assert (sample.targets["biome"], sample.targets["eco_region"]) == (-1, -1)
    other = fixed[2].images
    assert other["aster"].pixels.isnan().all() and other["canopy_height_eth"].pixels.isnan().all()
    assert (other["esa_worldcover"].pixels == -1).all() and other["dynamic_world"].pixels.min() >= 0

    wrong = released[0].images
    assert not (wrong["esa_worldcover"].pixels == 0).any()
    assert (wrong["canopy_height_eth"].pixels == 127).sum() == 2 * 5 * S
    assert wrong["optical"].pixels[0, 2, 8].isnan().all() and not wrong["optical"].valid[0, 8].any()


def test_tiles_that_the_converter_shifted_by_a_band_keep_sentinel2_only(tmp_path):
    info = {str(7 * i + 3): facts(i) for i in range(N)}
    info["10"]["BANDS"]["sentinel2"].remove("MSK_CLDPRB")
    images = MMEarth(write(tmp_path, info=info))[1].images
    assert images["optical"].pixels.isfinite().all()
    assert all(images[role].pixels.isnan().all() for role in ("sentinel1", "aster", "canopy_height_eth"))
    assert all((images[role].pixels == -1).all() for role in ("dynamic_world", "esa_worldcover"))


def test_only_the_modalities_asked_for_are_read(folder, monkeypatch):
    dataset, read = MMEarth(folder, modalities=["lat", "sentinel2"]), []
    real = h5py.Dataset.__getitem__
    monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda self, at: (read.append((self.name, at)), real(self, at))[1])
    sample = dataset[4]
    assert set(read) == {("/metadata", 4), ("/sentinel2", 4), ("/lat", 4)}
    assert list(sample.images) == ["optical"] and list(sample.targets) == ["lat"]
    assert list(MMEarth(folder).only(["lat"]).modalities) == ["lat"]


def test_sentinel2_is_normalised_by_the_level_of_its_tile(folder):
    dataset = MMEarth(folder)
    modality = dataset.modalities["sentinel2"]
    spec = RoleSpec(
        sensor=dataset.info.sensor, bands=modality.channels, unit=modality.unit, normaliser=modality.normaliser
    )
    batch = collate([dataset[0], dataset[1]])
    assert batch["optical"].levels == ("L1C", "L2A")
    raw, done = batch["optical"].pixels, InputSpec(roles={"optical": spec}).prepare(batch)["optical"].pixels
    torch.testing.assert_close(done[0], (raw[0] - 1) / 2)
    torch.testing.assert_close(done[1], (raw[1] - 1) / 4)


def test_a_statistic_that_is_missing_is_named(tmp_path):
    write(tmp_path)
    file = tmp_path / "data_1M_v001_64_band_stats.json"
    stats = json.loads(file.read_text())
    stats["aster"]["std"][1] = 0.0
    stats["sentinel1"]["mean"][7] = stats["sentinel1"]["std"][7] = math.nan  # a channel that no tile has
    file.write_text(json.dumps(stats))
    dataset = MMEarth(tmp_path)
    with pytest.raises(DataError, match=r"no usable statistics of slope in aster; found mean 1.0, std 0.0"):
        _ = dataset.modalities
    assert dataset.only(["sentinel1"]).modalities["sentinel1"].normaliser.std[6:] == (2.0, 1.0)
    del stats["sentinel2_l2a"]
    file.write_text(json.dumps(stats))
    with pytest.raises(DataError, match="no statistics of sentinel2_l2a"):
        _ = dataset.only(["sentinel2"]).modalities


def test_splits_are_rows_in_the_official_order(folder):
    train = open_dataset(folder, split="training")
    assert train.keys() == [str(7 * row + 3) for row in (5, 0, 3, 1, 2, 4)]
    assert train.splits() == ["train"] * N
    with pytest.raises(DataError, match=r"no tiles in split 'val'; found 6 in train, 0 in val"):
        open_dataset(folder, split="val")


def test_whole_squares_of_a_degree_are_held_out_and_always_the_same(tmp_path):
    n = 400
    data = {"lat": np.empty((n, 2)), "lon": np.empty((n, 2)), "sentinel2": arrays(4, 1)["sentinel2"].repeat(n, 0)}
    lat, lon = np.random.default_rng(3).uniform(-60, 60, (2, n))
    lat[1::2], lon[1::2] = np.floor(lat[::2]) + 0.5, np.floor(lon[::2]) + 0.5  # a neighbour in the same square
    for name, degrees in (("lat", lat), ("lon", lon)):
        data[name] = np.stack([np.sin(np.radians(degrees)), np.cos(np.radians(degrees))], 1)
    write(tmp_path, data, splits={"train": [*range(n)], "val": [], "test": []})
    train, val = (MMEarth(tmp_path, split=s, holdout=0.25).keys() for s in ("train", "val"))
    assert len(train) + len(val) == n and not set(train) & set(val)
    assert 0.15 < len(val) / n < 0.35
    pairs = {int(k) // 14 for k in val}
    assert len(val) == 2 * len(pairs)
    assert MMEarth(tmp_path, split="val", holdout=0.25).keys() == val


def batches(dataset, workers, context=None):
    return list(DataStream(dataset, 2, seed=5, workers=workers, context=context, epochs=1))


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_give_the_batches_of_one_process(folder, context):
    dataset = MMEarth(folder)
    alone = batches(dataset, 0)  # opens the file before the fork
    for one, other in zip(alone, batches(dataset, 2, context), strict=True):
        assert one.keys == other.keys
        assert all(torch.equal(one[role].pixels, other[role].pixels) for role in one.images)
        assert all(torch.equal(one.targets[k], other.targets[k]) for k in one.targets)


def test_a_cached_dataset_has_the_same_samples_and_modalities(folder):
    dataset = MMEarth(folder)
    cached = Cached(dataset)
    assert modalities_of(cached) == dataset.modalities
    assert torch.equal(cached[2].images["aster"].pixels, dataset[2].images["aster"].pixels)
    assert len(pickle.dumps(dataset)) < 20_000


def test_crops_flips_and_turns_move_every_modality_alike(folder):
    dataset = MMEarth(folder)
    batch = collate([dataset[i] for i in range(4)], seeds=range(4))
    batch["sentinel1"].pixels[:, :, 5] = math.nan
    random = SampleRandom(batch.seeds)
    for transform in (RandomCrop(size=9), Flip(), QuarterTurn()):
        batch = transform(batch, random)
    place = batch["optical"].pixels[:, 0, 0]
    assert len({p.numpy().tobytes() for p in place}) == 4
    for n in range(4):
        stored = place[n].long()
        assert torch.equal(batch["sentinel1"].pixels[n, 0, 0], place[n])
        assert batch["sentinel1"].pixels[n, 0, 5].isnan().all()
        assert torch.equal(batch["dynamic_world"].pixels[n, 0, 0].long(), stored % 9)
        assert torch.equal(batch["esa_worldcover"].pixels[n, 0, 0].long(), stored % 11)
        assert torch.equal(batch["canopy_height_eth"].pixels[n, 0, 0].long(), stored % 50)


def test_resized_crops_keep_classes_whole_and_missing_values_local(folder):
    dataset = MMEarth(folder)
    batch = collate([dataset[0]], seeds=[1])
    batch["sentinel1"].pixels[0, 0, 3, 5, 5] = math.nan
    batch["dynamic_world"].pixels[0, 0, 0, :8] = -1
    done = RandomResizedCrop(size=12, scale=(0.9, 1.0))(batch, SampleRandom(batch.seeds))
    radar = done["sentinel1"].pixels[0, 0]
    assert radar[[0, 1, 2, 4, 5, 6, 7]].isfinite().all()
    assert 0 < radar[3].isnan().sum() < 60
    labels = done["dynamic_world"].pixels
    assert set(labels.unique().tolist()) <= {-1.0, *map(float, range(9))}
    assert done["dynamic_world"].valid is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: (f / "data_1M_v001_64_splits.json").unlink(), "exactly one file data_\\*_splits.json; found none"),
        (lambda f: (f / "data_2.h5").touch(), "exactly one file data_\\*.h5; found data_1M"),
        (lambda f: (f / "data_1M_v001_64.h5").write_bytes(b"\x89HDF cut short"), "cannot read"),
        (lambda f: (f / "data_1M_v001_64_tile_info.json").write_text('{"3": {"S2_type": "l1c"'), "cut short"),
        (lambda f: (f / "data_1M_v001_64_tile_info.json").write_text('{"3": {"S2_type": "l1c"}}'), "tile '3'"),
        (lambda f: (f / "data_1M_v001_64_tile_info.json").write_text("{}"), "describes no tile"),
        (lambda f: (f / "data_1M_v001_64_tile_info.json").write_text("[]"), "not valid JSON"),
        (lambda f: (f / "data_1M_v001_64_splits.json").write_text('{"train": [99]}'), "rows that the HDF5 file does"),
        (lambda f: (f / "data_1M_v001_64_splits.json").write_text("[1]"), "does not list splits"),
    ],
)
def test_a_broken_folder_is_refused_with_the_reason(tmp_path, change, reason):
    write(tmp_path)
    change(tmp_path)
    with pytest.raises(DataError, match=reason):
        MMEarth(tmp_path)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"modalities": ["sentinel3"]}, "no modality 'sentinel3'. Did you mean 'sentinel2'"),
        ({"modalities": []}, "no modality of"),
        ({"bands": ["B10"]}, "have no band B10"),
        ({"bands": ["B8B"]}, "no band 'B8B'"),
        ({"split": "train", "holdout": 2}, "share of the places"),
    ],
)
def test_a_wrong_choice_is_refused_with_the_reason(folder, options, reason):
    with pytest.raises(DataError, match=reason):
        MMEarth(folder, **options)


def test_an_array_of_another_shape_or_absent_is_named(tmp_path):
    data = arrays()
    del data["eco_region"]
    dataset = MMEarth(write(tmp_path / "a", data))
    assert "eco_region" not in dataset.modalities
    with pytest.raises(DataError, match="no array eco_region"):
        MMEarth(tmp_path / "a", modalities=["eco_region"])
    data["aster"] = data["aster"][:, :1]
    with pytest.raises(DataError, match="array aster"):
        MMEarth(write(tmp_path / "b", data))


def test_a_tile_without_facts_is_a_broken_sample_and_not_a_broken_dataset(tmp_path):
    dataset = MMEarth(write(tmp_path, info={str(7 * i + 3): facts(i) for i in range(5)}))
    assert dataset[4].key == "31"
    with pytest.raises(DataError, match="does not describe tile '38'"):
        _ = dataset[5]


def test_tile_facts_are_read_piece_by_piece(tmp_path, monkeypatch):
    info = {str(i): facts(i % 6) | {"lat": float(i)} for i in range(60)}
    file = tmp_path / "info.json"
    file.write_text(json.dumps(info, indent=1))
    monkeypatch.setattr(tables, "_CHUNK", 997)
    found = tables.TileTable(file)
    assert len(found) == 60
    assert [found.tile(str(i).encode()).lat for i in range(60)] == [float(i) for i in range(60)]
    assert found.levels == {"L1C", "L2A"}


def test_sensor_unit_and_gsd_of_mmearth_are_not_declared(folder):
    assert len(open_dataset(folder / "data_1M_v001_64.h5", gsd=10.0)) == N
    with pytest.raises(DataError, match="is MMEarth, whose gsd is known"):
        open_dataset(folder, gsd=20.0)
    with pytest.raises(DataError, match="is MMEarth, whose sensor is known"):
        open_dataset(folder, sensor="rgb")
