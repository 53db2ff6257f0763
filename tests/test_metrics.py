"""Metrics equal scikit-learn and torchmetrics, on a set and on every draw from it."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
import torchmetrics.functional.classification as tm
from hypothesis import given, settings
from hypothesis import strategies as st

from ecotone.evaluation.contract import Interval
from ecotone.evaluation.intervals import average, bootstrap
from ecotone.metrics import METRICS, Answers

rounded = st.sampled_from([0, 1])  # whether scores are rounded, which makes many of them equal


def several(seed, n=40, classes=5, ties=0):
    g = torch.Generator().manual_seed(seed)
    truth = (torch.rand(n, classes, generator=g) < 0.3).float()
    truth[0] = 1  # every class occurs
    scores = (truth + torch.randn(n, classes, generator=g)).sigmoid()
    scores = (scores * 5).round() / 5 if ties else scores
    return Answers(truth, scores >= 0.5, scores)


def single(seed, n=40, classes=5):
    g = torch.Generator().manual_seed(seed)
    truth = torch.randint(classes, (n,), generator=g)
    said = torch.where(torch.rand(n, generator=g) < 0.6, truth, torch.randint(classes, (n,), generator=g))
    return Answers(truth, said)


def values(seed, n=40):
    g = torch.Generator().manual_seed(seed)
    truth = 300 + 20 * torch.randn(n, generator=g)
    return Answers(truth, truth + 5 * torch.randn(n, generator=g))


def oracle(name, a: Answers, index=slice(None)):
    """The same metric by scikit-learn, over these samples."""
    y = a.truth[index].numpy()
    if name.endswith("map"):
        scores = a.scores[index].numpy()
        some = y.any(0)
        average = "micro" if name == "micro_map" else "macro"
        return sk.average_precision_score(
            y[:, some] if average == "macro" else y, scores[:, some] if average == "macro" else scores, average=average
        )
    said = a.decisions[index].numpy()
    return {
        "accuracy": lambda: sk.accuracy_score(y, said),
        "macro_f1": lambda: sk.f1_score(y, said, average="macro", zero_division=np.nan),
        "micro_f1": lambda: sk.f1_score(y, said, average="micro"),
        "rmse": lambda: sk.root_mean_squared_error(y, said),
        "mae": lambda: sk.mean_absolute_error(y, said),
        "r2": lambda: sk.r2_score(y, said),
    }[name]()


CASES = [
    *((name, several) for name in ("micro_map", "macro_map", "micro_f1", "macro_f1")),
    *((name, single) for name in ("accuracy", "macro_f1", "micro_f1")),
    *((name, values) for name in ("rmse", "mae", "r2")),
]
each_case = pytest.mark.parametrize(("name", "make"), CASES, ids=[f"{n}-{m.__name__}" for n, m in CASES])


@each_case
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_metrics_equal_scikit_learn(name, make, seed):
    answers = make(seed)
    assert METRICS[name].value(answers) == pytest.approx(oracle(name, answers), rel=1e-6)


@each_case
def test_a_draw_gives_the_metric_of_the_samples_drawn(name, make):
    answers, rng = make(3), np.random.default_rng(0)
    for _ in range(10):
        index = rng.integers(len(answers), size=len(answers))
        counts = np.bincount(index, minlength=len(answers))[None].astype(float)
        assert METRICS[name].of(answers)(counts)[0] == pytest.approx(oracle(name, answers, index), rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), ties=rounded)
def test_mean_average_precision_equals_torchmetrics_also_with_equal_scores(seed, ties):
    a = several(seed, ties=ties)
    for name, how in (("macro_map", "macro"), ("micro_map", "micro")):
        expected = tm.multilabel_average_precision(a.scores, a.truth.long(), num_labels=5, average=how)
        assert METRICS[name].value(a) == pytest.approx(float(expected), abs=1e-5)


def test_f1_equals_torchmetrics():
    a, b = several(1), single(1)
    for name, how in (("macro_f1", "macro"), ("micro_f1", "micro")):
        many = tm.multilabel_f1_score(a.decisions.long(), a.truth.long(), num_labels=5, average=how)
        one = tm.multiclass_f1_score(b.decisions, b.truth, num_classes=5, average=how)
        assert METRICS[name].value(a) == pytest.approx(float(many), abs=1e-5)
        assert METRICS[name].value(b) == pytest.approx(float(one), abs=1e-5)


def test_classes_without_a_positive_do_not_move_the_macro_mean():
    a = several(2)
    blank = torch.zeros(len(a), 1)
    wider = Answers(torch.cat([a.truth, blank], 1), None, torch.cat([a.scores, torch.rand(len(a), 1)], 1))
    assert METRICS["macro_map"].value(wider) == METRICS["macro_map"].value(a)


def test_a_constant_truth_has_the_r2_of_scikit_learn():
    truth = torch.full((6,), 3.0)
    assert METRICS["r2"].value(Answers(truth, truth)) == 1
    assert METRICS["r2"].value(Answers(truth, truth + 1)) == 0


def test_differences_are_paired_whatever_the_metric():
    """A steady gain is sure, although the intervals of both overlap."""
    weak = values(5, n=200)
    strong = Answers(weak.truth, weak.truth + 0.97 * (weak.decisions - weak.truth))
    a, b = bootstrap([METRICS["rmse"].of(x) for x in (weak, strong)], 200)
    assert a.interval()[0] < b.interval()[1]
    low, high = (a - b).interval()
    assert 0 < low < (a - b).value < high
    assert average([a, b]).value == pytest.approx((a.value + b.value) / 2)


def test_an_interval_of_a_metric_that_is_no_mean_covers_the_truth_about_that_often():
    sure = several(0, n=20_000)
    truth, hits = METRICS["micro_map"].value(sure), 0
    for start in range(0, 20_000, 200):
        part = slice(start, start + 200)
        answers = Answers(sure.truth[part], None, sure.scores[part])
        low, high = bootstrap([METRICS["micro_map"].of(answers)], 200, Interval(draws=200))[0].interval()
        hits += low <= truth <= high
    assert 88 <= hits <= 99
