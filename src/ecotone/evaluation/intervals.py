"""Bootstrap intervals over test samples, alone and paired."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ecotone.evaluation.contract import Interval


def bootstrap_mean(values: ArrayLike, interval: Interval | None = None) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean of one value per test sample.

    Drawing N samples with replacement is drawing how often each distinct value occurs, from a multinomial
    distribution; for scores that are right or wrong this costs two numbers a draw instead of N.

    Args:
        values: (N,) such as 1 for right and 0 for wrong.
        interval: Level, draws and seed.

    Returns:
        Lower and upper end.
    """
    interval = interval or Interval()
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    n = counts.sum()
    rng = np.random.default_rng(interval.seed)
    means = rng.multinomial(n, counts / n, size=interval.draws) @ distinct / n
    tail = (1 - interval.level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def paired_difference(
    first: ArrayLike, second: ArrayLike, interval: Interval | None = None
) -> tuple[float, tuple[float, float]]:
    """Mean of first minus second over the same (N,) test samples, with its paired bootstrap interval."""
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return float(difference.mean()), bootstrap_mean(difference, interval)
