from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ecotone.evaluation import evaluate
from ecotone.evaluation.metadata_probes import RADIUS_KM, LocationProbe, gsd_features, on_sphere
from ecotone.samples import Batch, ImageBatch, Place
from ecotone.sensors import unit


def batch_of(places=(), gsd=10.0, n=3):
    image = ImageBatch.of(torch.zeros(n, 1, 4, 4), bands=("a",), unit=unit("uint8"), gsd=gsd)
    return Batch({"optical": image}, ("",) * n, torch.zeros(n, dtype=torch.int64), places=places)


def test_places_lie_on_the_unit_sphere_and_unknown_ones_at_its_centre():
    points = on_sphere((Place(0, 0), Place(90, 0), Place(12, 90), None))
    expected = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(points, expected, atol=1e-12, rtol=0)


def test_features_of_places_approximate_gaussian_kernels_and_join_at_the_date_line():
    apart = [0.0, 0.5, 0.05]  # degrees from the first place
    places = (Place(180, 0), Place(-179.5, 0), Place(-179.95, 0))
    probe = LocationProbe(seed=0, features=20_000)
    waves = probe(batch_of(places))[:, 3:].view(3, 3, -1)
    for length, wave in zip((1000.0, 100.0, 10.0), waves.unbind(1), strict=True):
        kernel = 2 * (wave @ wave[0]) / wave.shape[1]
        for degrees, value in zip(apart, kernel.tolist(), strict=True):
            km = RADIUS_KM * math.radians(degrees)
            assert value == pytest.approx(math.exp(-((km / length) ** 2) / 2), abs=0.03)


def test_unknown_gsds_are_marked_and_finite():
    found = gsd_features(batch_of(gsd=torch.tensor([math.e, float("nan"), 1.0])))
    torch.testing.assert_close(found, torch.tensor([[1.0, 1], [0, 0], [0, 1]]), atol=1e-6, rtol=0)


@pytest.fixture
def told(make_splits):
    """Splits of pure noise whose class stands in the place or the GSD of each sample."""

    def make(**facts):
        splits = make_splits((90, 30, 120), gsd=None if "gsd" in facts else 10.0)
        for data in splits.values():
            data.pixels = torch.randint(0, 255, data.pixels.shape, dtype=torch.uint8)

            class Told(type(data)):
                def __getitem__(self, index):
                    sample, label = super().__getitem__(index), self.targets[index]
                    if "gsd" in facts:
                        image = replace(sample.images["optical"], gsd=10.0 * 2**label, effective_gsd=None)
                        return replace(sample, images={"optical": image})
                    return replace(sample, place=Place(*facts["place"](label, index)))

            data.__class__ = Told
        return splits

    return make


def scores(report):
    return {r.encoder: r.value for r in report.rows if r.protocol == "linear"}


def test_labels_that_follow_the_place_are_found_out(told, tiny_encoder):
    splits = told(place=lambda label, index: (40 * label + index % 7 / 10, index % 5 / 10))
    found = scores(evaluate([tiny_encoder()], splits, scales=(1,), protocols=["linear"]))
    assert found["location only"] > 0.99 and found["image statistics"] < 0.6
    assert "GSD only" not in found


def test_labels_that_follow_the_gsd_are_found_out(told, tiny_encoder):
    found = scores(evaluate([tiny_encoder()], told(gsd=True), scales=(1,), protocols=["linear"]))
    assert found["GSD only"] > 0.99 and found["image statistics"] < 0.6
    assert "location only" not in found


def test_one_place_for_all_is_no_place(told, tiny_encoder):
    found = scores(evaluate([tiny_encoder()], told(place=lambda *_: (10, 50)), scales=(1,), protocols=["linear"]))
    assert "location only" not in found
