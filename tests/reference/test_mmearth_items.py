"""What the official MMEarth loader returns, from our reader and its normalisers; and what the fixed mode mends."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from roots import ROOT, close
from safetensors.torch import load_file

from ecotone.data.catalog import MMEarth
from ecotone.data.catalog.mmearth import Mode
from ecotone.data.catalog.mmearth_layout import LAYERS
from ecotone.samples import collate

MINIS = sorted((ROOT / "mmearth").glob("*/official_items.safetensors"))


@cache
def items() -> list[tuple[Path, str]]:
    return [(file, key) for file in MINIS for key in sorted(load_file(file))]


@cache
def folder_of(items_file: Path) -> Path:
    (file,) = items_file.parent.glob("*/data_*.h5")
    return file.parent


@cache
def opened(folder: Path, mode: Mode) -> MMEarth:
    return MMEarth(folder, mode=mode)


def ours(items_file: Path, row: int, name: str, mode: Mode) -> torch.Tensor:
    """Our value of a modality, normalised as its Modality says; classes one-hot for targets, as the official code."""
    dataset = opened(folder_of(items_file), mode)
    modality, sample = dataset.modalities[name], dataset[row]
    if modality.scope == "pixel":
        batch = collate([sample])[modality.role]
        normalise = modality.normaliser
        return (normalise.apply(batch.pixels, batch) if normalise else batch.pixels)[0, 0]
    value = sample.targets[modality.role]
    if modality.kind == "categorical":
        return torch.nn.functional.one_hot(torch.tensor(value), len(modality.channels))
    column = value.view(1, -1, 1, 1)
    return modality.normaliser.apply(column, collate([sample])["optical"]).flatten()


def equal(actual: torch.Tensor, expected: torch.Tensor) -> None:
    assert actual.shape == expected.shape
    assert torch.equal(actual.isnan(), expected.isnan())
    close(actual.nan_to_num(0), expected.nan_to_num(0), atol=1e-5)


def parse(key: str) -> tuple[int, str]:
    row, _, name = key.removeprefix("file_row").partition(".")
    return int(row), name


def each(chosen: list[tuple[Path, str]]):
    return pytest.mark.parametrize(("file", "key"), chosen, ids=[f"mmearth/{f.parent.name}/{key}" for f, key in chosen])


@each(items())
def test_as_released_equals_the_official_loader(file, key):
    row, name = parse(key)
    intended = name.endswith("_intended")
    mode = "fixed" if intended else "as-released"  # the "intended" items hold what the official documentation says
    equal(ours(file, row, name.removesuffix("_intended"), mode), load_file(file)[key])


@each([(file, key) for file, key in items() if parse(key)[1] in LAYERS])
def test_fixed_differs_from_the_official_loader_only_where_that_is_wrong(file, key):
    row, name = parse(key)
    expected, actual = load_file(file)[key].double(), ours(file, row, name, "fixed").double()
    with h5py.File(next(folder_of(file).glob("data_*.h5"))) as stored:
        raw = torch.from_numpy(np.asarray(stored[name][row]).astype(np.float64))
    if name == "esa_worldcover":
        expected = torch.where(raw == 10, 0.0, expected)
    elif name == "canopy_height_eth":
        expected = torch.where(raw == 127, float("nan"), expected)
    equal(actual, expected)


@pytest.mark.parametrize("file", MINIS, ids=lambda f: f.parent.name)
def test_the_two_modes_differ_somewhere(file):
    a, b = (opened(folder_of(file), mode) for mode in ("fixed", "as-released"))
    covers = [[d[i].images["esa_worldcover"].pixels for i in range(len(d))] for d in (a, b)]
    assert any((one == 0).any() for one in covers[0])
    assert not any((one == 0).any() for one in covers[1])


FOLDERS = sorted({f.parent for f in (ROOT / "mmearth").glob("*/*/data_*.h5")})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f"mmearth/{f.name}")
@pytest.mark.parametrize("mode", ["fixed", "as-released"])
def test_every_tile_of_a_reference_dataset_is_read_and_normalised(folder, mode):
    dataset = opened(folder, mode)
    batch = collate([dataset[i] for i in range(len(dataset))])
    for modality in dataset.modalities.values():
        if modality.scope == "pixel" and modality.normaliser is not None:
            image = batch[modality.role]
            done = modality.normaliser.apply(image.pixels, image)
            assert done.shape == image.pixels.shape
            assert torch.equal(done.isnan(), image.pixels.isnan()) and not done.isinf().any()
