from __future__ import annotations

import numpy as np
import pytest
import torch

from ecotone.evaluation.contract import Interval
from ecotone.evaluation.intervals import bootstrap
from ecotone.metrics import mean


def bootstrap_mean(values, interval=None):
    return bootstrap([mean(torch.tensor(values))], len(values), interval)[0].interval()


def test_an_interval_of_95_per_cent_covers_the_truth_about_that_often():
    rng = np.random.default_rng(1)
    quick = Interval(draws=500)
    hits = 0
    for _ in range(400):
        low, high = bootstrap_mean(rng.random(300) < 0.7, quick)
        hits += low <= 0.7 <= high
    assert 0.91 < hits / 400 < 0.985


def test_it_equals_drawing_the_samples_themselves():
    values = np.random.default_rng(2).random(200)
    rng = np.random.default_rng(3)
    drawn = values[rng.integers(0, 200, (20_000, 200))].mean(1)
    assert bootstrap_mean(values, Interval(draws=20_000)) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=2e-3)


def test_the_same_seed_gives_the_same_interval():
    right = np.random.default_rng(5).random(100)
    assert bootstrap_mean(right) == bootstrap_mean(right)
    assert bootstrap_mean(right) != bootstrap_mean(right, Interval(seed=1))


def test_pairing_sees_a_small_steady_gain_that_two_separate_intervals_would_hide():
    rng = np.random.default_rng(4)
    weak = (rng.random(700) < 0.7).astype(float)
    strong = weak.copy()
    strong[np.flatnonzero(weak == 0)[:14]] = 1
    first, second = bootstrap([mean(torch.tensor(strong)), mean(torch.tensor(weak))], 700)
    value, (low, high) = (first - second).value, (first - second).interval()
    assert value == pytest.approx(0.02)
    assert 0 < low < 0.02 < high
    assert bootstrap_mean(strong)[0] < bootstrap_mean(weak)[1]
