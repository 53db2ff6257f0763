"""Bootstrap over test samples: every contestant is counted over the very same draws, so that differences are paired."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ecotone.evaluation.contract import Interval
from ecotone.metrics import Array, Statistic

COUNTS = 2**22  # counts in a block of draws, 32 MiB


@dataclass(frozen=True)
class Estimate:
    """A metric over the test samples and over every bootstrap draw of them.

    Attributes:
        value: Over the samples as they are.
        draws: (B,) over the draws; NaN where a draw leaves the metric undefined.
    """

    value: float
    draws: Array

    def __sub__(self, other: Estimate) -> Estimate:
        """The paired difference."""
        return Estimate(self.value - other.value, self.draws - other.draws)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Lower and upper end of the percentile interval."""
        tail = (1 - level) / 2
        low, high = np.nanquantile(self.draws, [tail, 1 - tail])
        return float(low), float(high)


def average(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of several metrics over the same draws."""
    draws = np.stack([e.draws for e in estimates]).mean(0)
    return Estimate(float(np.mean([e.value for e in estimates])), draws)


def bootstrap(statistics: Sequence[Statistic], samples: int, interval: Interval | None = None) -> list[Estimate]:
    """Every statistic over the same draws of the samples, with replacement.

    Args:
        statistics: Functions of how often each sample is counted.
        samples: N, of the test split.
        interval: Draws and seed.
    """
    interval = interval or Interval()
    once = np.ones((1, samples))
    values = [float(statistic(once)[0]) for statistic in statistics]
    parts: list[list[Array]] = [[] for _ in statistics]
    for counts in _draws(samples, interval):
        for part, statistic in zip(parts, statistics, strict=True):
            part.append(statistic(counts))
    return [Estimate(value, np.concatenate(part)) for value, part in zip(values, parts, strict=True)]


def _draws(samples: int, interval: Interval) -> Iterator[Array]:
    """Blocks (b, N) of how often each sample is drawn."""
    rng = np.random.default_rng(interval.seed)
    step = max(1, COUNTS // samples)
    for start in range(0, interval.draws, step):
        rows = min(step, interval.draws - start)
        drawn = rng.integers(samples, size=(rows, samples)) + samples * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * samples).reshape(rows, samples).astype(np.float64)
