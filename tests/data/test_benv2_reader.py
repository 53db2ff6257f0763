"""BigEarthNet v2: stacks and single bands of both sensors read alike, whatever the stacks claim."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d

from ecotone.data import open_dataset
from ecotone.data.catalog.benv2 import S2_BANDS
from ecotone.encoders import Encoder, Features
from ecotone.errors import DataError
from ecotone.evaluation import evaluate
from ecotone.inputs import Identity, InputSpec, RoleSpec


@pytest.fixture
def folder(shared_data):
    return shared_data / "geobench2_benv2"


def test_every_patch_has_both_sensors_on_the_true_grid(folder):
    dataset = open_dataset(folder)
    assert (dataset.info.task, dataset.info.split_kind, len(dataset)) == ("multilabel", "official", 21)
    for i in range(len(dataset)):
        sample = dataset[i]
        optical, radar = sample.images["optical"], sample.images["sentinel1"]
        assert (optical.gsd, radar.gsd) == (10, 10)
        assert (optical.bands, radar.bands) == (S2_BANDS, ("VH", "VV"))
        assert optical.pixels.shape == (1, 12, 120, 120) and radar.pixels.shape == (1, 2, 120, 120)
        vh, vv = radar.pixels.mean((0, 2, 3)).tolist()
        assert -35 < vh < vv < 0  # decibels, also where the stack holds unsigned integers
        assert -10 <= sample.place.lon <= 35 and 35 <= sample.place.lat <= 70


def test_bands_and_one_sensor_can_be_chosen_from_stacks_and_single_bands(folder):
    chosen = open_dataset(folder, sensor="sentinel2-l2a", bands=("B04", "B02"))
    whole = open_dataset(folder)
    for i in range(len(whole)):
        found = chosen[i].images
        assert list(found) == ["optical"]
        assert torch.equal(found["optical"].pixels, whole[i].images["optical"].pixels[:, [3, 1]])


def test_what_a_patch_cannot_have_is_refused(folder):
    with pytest.raises(DataError, match=r"sensors are known; found rgb; expected sentinel2-l2a or sentinel1-grd"):
        open_dataset(folder, sensor="rgb")
    with pytest.raises(DataError, match="no optical band B10"):
        open_dataset(folder, bands=("B10",))


class BothSensors(Encoder):
    """The mean of every band of both sensors on a grid of 2 x 2."""

    kind = "both-sensors"
    width = 14

    def config(self):
        return {}

    def forward_intermediates(self, prepared, layers):
        pixels = torch.cat([prepared[role].pixels[:, 0] for role in ("optical", "sentinel1")], 1)
        grid = adaptive_avg_pool2d(pixels, 2)
        return Features(maps=[grid], strides=[60], pooled=grid.flatten(1))

    def forward_features(self, prepared, keep=None):
        return self.forward_intermediates(prepared, (-1,))


def test_both_sensors_are_evaluated_together_and_the_report_says_how_little_five_images_mean(folder):
    optical = RoleSpec(sensor="sentinel2-l2a", bands=S2_BANDS, unit="reflectance x 10000", normaliser=Identity())
    radar = RoleSpec(sensor="sentinel1-grd", bands=("VH", "VV"), unit="dB", normaliser=Identity())
    encoder = BothSensors(InputSpec(roles={"optical": optical, "sentinel1": radar}))
    report = evaluate([encoder], folder, scales=(1,), protocols=["knn"])
    assert {row.metric for row in report.rows} == {"micro_map"}
    assert report.contract.data.n == {"train": 11, "val": 5, "test": 5}
    assert all("n too small" in verdict.text for verdict in report.verdicts)
