"""Metrics over a whole set, for any number of times that each of its samples is counted.

A bootstrap draw counts every sample 0, 1, 2 … times. A metric therefore takes counts (B, N), one row for each draw,
and gives B values at once, also where it is no mean over samples. Counting every sample once gives the score itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]  # counts (B, N) -> values (B,)


@dataclass(frozen=True)
class Answers:
    """What was answered for every sample of a set, and the truth.

    Attributes:
        truth: (N,) class indices, (N, C) zeros and ones, (N,) values, or of segmentation the confusion (N, C, C): how
            many pixels of each class (row) were given each class (column).
        decisions: The answer in the form of the truth; None for a ranking.
        scores: (N, C) by which the samples of each class are ranked; None without classes of their own.
        each: Name of a metric -> its (N,) values, where the metric is a mean over samples.
    """

    truth: Tensor
    decisions: Tensor | None = None
    scores: Tensor | None = None
    each: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.truth)


@dataclass(frozen=True)
class Metric:
    """A number that tells how good answers are.

    Attributes:
        name: In files and contracts.
        title: In sentences and tables.
        of: Answers -> the metric for any counts of the samples.
        percent: A share, printed in per cent; otherwise a number.
        lower: Lower is better.
        unit: It has the unit of the labels.
    """

    name: str
    title: str
    of: Callable[[Answers], Statistic]
    percent: bool = True
    lower: bool = False
    unit: bool = False

    def value(self, answers: Answers) -> float:
        """The metric over all samples."""
        return float(self.of(answers)(np.ones((1, len(answers))))[0])

    def gain(self, value: float) -> float:
        """The value, turned so that more is better."""
        return -value if self.lower else value


def mean(values: Tensor) -> Statistic:
    """The mean of one value (N,) per sample."""
    array = values.double().numpy()
    return lambda counts: counts @ array / counts.sum(1)


def _accuracy(answers: Answers) -> Statistic:
    return mean(_decisions(answers) == answers.truth)


def _f1(answers: Answers, *, macro: bool) -> Statistic:
    """2 TP / (2 TP + FP + FN), for all classes together or averaged over those that are true or said somewhere."""
    truth, said = _indicators(answers)
    hit, named = truth * said, truth + said

    def statistic(counts: Array) -> Array:
        hits, both = counts @ hit, counts @ named
        if not macro:
            hits, both = hits.sum(1, keepdims=True), both.sum(1, keepdims=True)
        return _mean_where(2 * hits, both, both > 0)

    return statistic


def _average_precision(answers: Answers, *, macro: bool) -> Statistic:
    """The sum over thresholds of the gain in recall times precision; equal scores share one threshold.

    The macro mean is over the classes with a positive.
    """
    assert answers.scores is not None
    scores, truth = answers.scores.double().numpy(), answers.truth.double().numpy()
    n, classes = truth.shape
    if macro:
        each = [_ranked(scores[:, c], truth[:, c], np.arange(n)) for c in range(classes) if truth[:, c].any()]
    else:
        each = [_ranked(scores.ravel(), truth.ravel(), np.repeat(np.arange(n), classes))]

    def statistic(counts: Array) -> Array:
        areas, positives = (np.stack(part, 1) for part in zip(*(one(counts) for one in each), strict=True))
        return _mean_where(areas, positives, positives > 0)

    return statistic


def _ranked(scores: Array, truth: Array, sample: NDArray[np.int64]) -> Callable[[Array], tuple[Array, Array]]:
    """Counts -> the sum of precision over the positives, and the number of positives, of one ranking."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    truth, sample = truth[order], sample[order]

    def areas(counts: Array) -> tuple[Array, Array]:
        drawn = counts[:, sample]
        seen = drawn.cumsum(1)[:, ends]
        hits = (drawn * truth).cumsum(1)[:, ends]
        precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
        return (np.diff(hits, axis=1, prepend=0) * precision).sum(1), hits[:, -1]

    return areas


def _rmse(answers: Answers) -> Statistic:
    squares = mean((_decisions(answers) - answers.truth).double() ** 2)
    return lambda counts: np.sqrt(squares(counts))


def _r2(answers: Answers) -> Statistic:
    """1 - squared errors / squared deviations; a constant truth gives 1 if it is met, else 0, as in scikit-learn."""
    truth = answers.truth.double().numpy()
    truth = truth - truth.mean()  # differences of large squares would lose digits
    errors = (_decisions(answers) - answers.truth).double().numpy() ** 2

    def statistic(counts: Array) -> Array:
        total = counts @ truth**2 - (counts @ truth) ** 2 / counts.sum(1)
        missed = counts @ errors
        constant = total <= 1e-12 * max(1.0, float((truth**2).max()))
        return np.where(constant, missed == 0, 1 - missed / np.where(constant, 1.0, total))

    return statistic


def _miou(answers: Answers) -> Statistic:
    """Intersection over union of each class's pixels over the whole set, averaged over those that are true or said."""
    confusion = answers.truth.double().numpy()
    hit = np.diagonal(confusion, axis1=1, axis2=2)
    either = confusion.sum(1) + confusion.sum(2) - hit

    def statistic(counts: Array) -> Array:
        union = counts @ either
        return _mean_where(counts @ hit, union, union > 0)

    return statistic


def _pixel_accuracy(answers: Answers) -> Statistic:
    confusion = answers.truth.double().numpy()
    hits, pixels = np.trace(confusion, axis1=1, axis2=2)[:, None], confusion.sum((1, 2))[:, None]

    def statistic(counts: Array) -> Array:
        total = counts @ pixels
        return _mean_where(counts @ hits, total, total > 0)

    return statistic


def _decisions(answers: Answers) -> Tensor:
    assert answers.decisions is not None
    return answers.decisions


def _indicators(answers: Answers) -> tuple[Array, Array]:
    """Truth and decisions as (N, C) zeros and ones."""
    pair = answers.truth.numpy(), _decisions(answers).numpy()
    if answers.truth.ndim == 2:
        return pair[0].astype(np.float64), pair[1].astype(np.float64)
    eye = np.eye(1 + max(int(part.max()) for part in pair))
    return eye[pair[0]], eye[pair[1]]


def _mean_where(numerator: Array, denominator: Array, defined: NDArray[np.bool_]) -> Array:
    """(B,) mean of ratios (B, C) over the defined ones; NaN where there is none."""
    ratios = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=defined)
    counts = defined.sum(1)
    return np.divide(ratios.sum(1), counts, out=np.full(len(counts), np.nan), where=counts > 0)


_ALL = (
    Metric("accuracy", "accuracy", _accuracy),
    Metric("macro_f1", "macro F1", lambda a: _f1(a, macro=True)),
    Metric("micro_f1", "micro F1", lambda a: _f1(a, macro=False)),
    Metric("micro_map", "micro mAP", lambda a: _average_precision(a, macro=False)),
    Metric("macro_map", "macro mAP", lambda a: _average_precision(a, macro=True)),
    Metric("rmse", "RMSE", _rmse, percent=False, lower=True, unit=True),
    Metric("mae", "MAE", lambda a: mean((_decisions(a) - a.truth).abs()), percent=False, lower=True, unit=True),
    Metric("r2", "R2", _r2, percent=False),
    Metric("miou", "mIoU", _miou),
    Metric("pixel_accuracy", "pixel accuracy", _pixel_accuracy),
    Metric("map_at_k", "mAP@k", lambda a: mean(a.each["map_at_k"])),
    Metric("recall_at_k", "recall@k", lambda a: mean(a.each["recall_at_k"])),
)
METRICS: dict[str, Metric] = {m.name: m for m in _ALL}
