from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from ecotone.embeddings.auc import Z, grouped_auc
from ecotone.evaluation.contract import Interval
from ecotone.evaluation.intervals import bootstrap


def drawn(seed, groups, size, kinds):
    """Scores that groups have partly in common; a group has one kind of samples, or both."""
    random = np.random.default_rng(seed)
    truth = np.broadcast_to(random.random((groups, size if kinds == 2 else 1)) < 0.4, (groups, size))
    scores = random.normal(size=(groups, 1)) + random.normal(size=(groups, size)) + truth
    return scores.ravel(), truth.ravel(), np.repeat(np.arange(groups), size)


@given(st.integers(0, 10**6))
def test_alone_each_sample_has_the_interval_of_delong(seed):
    random = np.random.default_rng(seed)
    scores, truth = random.integers(6, size=40).astype(float), np.arange(40) < 15
    wins = (scores[truth][:, None] > scores[~truth]) + 0.5 * (scores[truth][:, None] == scores[~truth])
    variance = wins.mean(1).var(ddof=1) / 15 + wins.mean(0).var(ddof=1) / 25
    area, interval = grouped_auc(scores, truth, np.arange(40))
    assert area == pytest.approx(roc_auc_score(truth, scores))
    half = Z * np.sqrt(variance) / (area * (1 - area))
    assert interval == pytest.approx(expit(logit(area) + np.array([-half, half])))


def test_groups_are_drawn_as_a_bootstrap_draws_them():
    scores, truth, groups = drawn(0, 80, 12, 2)
    wins = (scores[truth][:, None] > scores[~truth]).astype(float)
    pairs = np.zeros((80, 80))
    np.add.at(pairs, (groups[truth][:, None], groups[~truth][None]), wins)
    yes, no = np.bincount(groups[truth]), np.bincount(groups[~truth])
    (drawn_area,) = bootstrap(
        [lambda c: np.einsum("bi,ij,bj->b", c, pairs, c, optimize=True) / (c @ yes) / (c @ no)],
        80,
        Interval(draws=2000),
    )
    area, interval = grouped_auc(scores, truth, groups)
    assert area == pytest.approx(drawn_area.value)
    assert interval == pytest.approx(drawn_area.interval(), abs=0.01)


def test_intervals_cover_the_truth_where_single_samples_would_not():
    known = grouped_auc(*drawn(1, 20_000, 10, 1))[0]
    covered = np.zeros(2)
    for seed in range(200):
        scores, truth, groups = drawn(10 + seed, 60, 10, 1)
        for i, units in enumerate((groups, np.arange(len(groups)))):
            low, high = grouped_auc(scores, truth, units)[1] or (1, 0)
            covered[i] += low <= known <= high
    assert covered[0] >= 182 and covered[1] < 140


def test_nothing_is_claimed_of_one_group_or_of_no_confusion():
    truth = np.array([True, True, False, False])
    assert grouped_auc(np.array([3.0, 4, 1, 2]), truth, np.arange(4)) == (1, None)
    assert grouped_auc(np.array([1.0, 4, 3, 2]), truth, np.array([0, 0, 1, 2]))[1] is None
