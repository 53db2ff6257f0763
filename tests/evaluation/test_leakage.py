from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ecotone.errors import DataError
from ecotone.evaluation import evaluate
from ecotone.evaluation.audits.leakage import FOLDS
from ecotone.evaluation.audits.places import block_folds, spatial_blocks
from ecotone.evaluation.features import FeatureSet
from ecotone.evaluation.protocols import LinearProbe
from ecotone.evaluation.protocols.knn import KNNGrid
from ecotone.evaluation.tasks import task_of
from ecotone.samples import Place


class Placed:
    """A dataset in memory whose samples have places."""

    def __init__(self, data, lonlat):
        self.data, self.lonlat, self.info = data, lonlat, data.info

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        lon, lat = self.lonlat[index].tolist()
        return replace(self.data[index], place=Place(lon, lat))

    def keys(self):
        return self.data.keys()

    def labels(self):
        return self.data.labels()


def placed(make_splits, *, shuffled=False, counts=(240, 60, 60)):
    """Towns of many colours whose label is a coin toss for each town: only another sample of the town tells it."""
    g = torch.Generator().manual_seed(3)
    towns = 45
    centre = torch.stack([torch.arange(towns) % 9, torch.arange(towns) // 9], 1) * 0.2 + torch.tensor([10.0, 45.0])
    colour = torch.randint(40, 215, (towns, 3), generator=g)
    label = torch.randint(2, (towns,), generator=g)
    splits = {}
    for name, data in make_splits(counts, classes=2).items():
        town = torch.randint(towns, (len(data),), generator=g)
        noise = torch.randn(len(data), 3, 32, 32, generator=g) * 4
        data.pixels = (colour[town][:, :, None, None] + noise).clamp(0, 255).byte()
        data.targets = label[town].tolist()
        lonlat = centre[town] + 0.01 * torch.rand(len(data), 2, generator=g)
        splits[name] = Placed(data, lonlat[torch.randperm(len(data), generator=g)] if shuffled else lonlat)
    return splits


def figures(splits, tiny_encoder, **options):
    report = evaluate([tiny_encoder()], splits, scales=(1,), audits=("leakage",), **options)
    [finding] = report.audits
    return finding, {(f.encoder, f.protocol, f.setting): f for f in finding.figures}


def test_a_random_split_of_towns_flatters_and_the_gap_says_by_how_much(make_splits, tiny_encoder):
    finding, found = figures(placed(make_splits), tiny_encoder, protocols=["knn"])
    for name in ("image statistics", "vit"):
        spatial, random = (found[name, "knn", s] for s in ("spatial blocks", "random split"))
        assert random.difference == pytest.approx(random.value - spatial.value)
        assert random.difference_ci95 is not None and random.difference_ci95[0] > 0.1
        assert spatial.difference is None
    assert {f.detail for f in finding.figures} == {"k 20"}
    assert finding.settings["samples"] == 300 and finding.settings["blocks"] >= 20
    assert {f.encoder for f in finding.figures} >= {"vit", "random init"}


def test_places_that_tell_nothing_leave_a_gap_of_zero(make_splits, tiny_encoder):
    _, found = figures(placed(make_splits, shuffled=True), tiny_encoder, floors=False)
    for protocol in ("knn", "linear"):
        low, high = found["vit", protocol, "random split"].difference_ci95 or (1, 1)
        assert low <= 0 <= high
    assert all(f.detail.startswith("C ") for (_, protocol, _), f in found.items() if protocol == "linear")


@pytest.mark.parametrize("protocol", [LinearProbe(), KNNGrid()])
def test_a_fixed_choice_answers_as_where_it_was_made(make_splits, protocol):
    g = torch.Generator().manual_seed(0)
    train, val = (FeatureSet(torch.randn(n, 5, generator=g), torch.randint(3, (n,), generator=g)) for n in (60, 40))
    task = task_of(make_splits()["train"].info)
    chosen = protocol.select(train, val, task)
    again = protocol.fixed(chosen.settings).select(train, val, task)
    name = "C" if protocol.name == "linear" else "k"
    assert again.settings[name] == chosen.settings[name] and len(again.tried) == 1
    torch.testing.assert_close(again.predict(val.features), chosen.predict(val.features), atol=1e-3, rtol=0)


def test_the_audit_reads_no_test_image(make_splits, tiny_encoder):
    splits = placed(make_splits)
    without = evaluate([tiny_encoder()], splits, scales=(1,), audits=(), protocols=["knn"], floors=False)
    read = splits["test"].data.log.count("test")
    again = evaluate([tiny_encoder()], splits, scales=(1,), audits=("leakage",), protocols=["knn"], floors=False)
    assert splits["test"].data.log.count("test") == 2 * read
    assert again.contract.hash == without.contract.hash
    assert [r.value for r in again.rows] == [r.value for r in without.rows]


def test_samples_without_a_place_are_refused_before_the_test_split_is_read(make_splits, tiny_encoder):
    splits = make_splits()
    with pytest.raises(DataError, match="does not say where"):
        evaluate([tiny_encoder()], splits, scales=(1,), audits=("leakage",))
    assert "test" not in splits["test"].log


def test_samples_of_one_place_make_no_blocks():
    with pytest.raises(DataError, match="too few places"):
        spatial_blocks(torch.tensor([[10.0, 45.0]]).expand(50, 2), 20)


def test_blocks_are_squares_of_their_side_and_folds_hold_whole_blocks():
    lonlat = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1.0])
    block, side = spatial_blocks(lonlat + torch.tensor([20.0, 60.0]), 20)
    for b in block.unique():
        members = lonlat[block == b]
        assert (members.amax(0) - members.amin(0)).max() * 111.2 * 0.45 <= side
    fold = block_folds(block, FOLDS, 0)
    for b in block.unique():
        assert len(fold[block == b].unique()) == 1
    count = torch.bincount(fold, minlength=FOLDS)
    assert count.min() > 0.5 * count.max()
