"""Intrinsic dimension: on how many dimensions the vectors really lie, from distances to neighbours alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Counts = NDArray[np.float64]
DISCARDED = 0.1  # largest ratios that the fit of TwoNN leaves out, as its authors do


def two_nn(distance: Array) -> float:
    """TwoNN (Facco, d'Errico, Rodriguez and Laio, Scientific Reports 7, 2017); NaN where it is not defined.

    With mu = r2 / r1, the ratio of the distances to the two nearest neighbours, and F its empirical distribution,
    -log(1 - F) = d log(mu): d is the slope of the line through the origin, over all but the largest 10 % of the mu.

    Args:
        distance: (n, k >= 2) distances to neighbours, nearest first. Rows with r1 = 0, exact duplicates, are left out.
    """
    return float(two_nn_of(distance)(np.ones((1, len(distance))))[0])


def two_nn_of(distance: Array) -> Callable[[Counts], Counts]:
    """TwoNN of rows counted (B, n) times each, for a bootstrap."""
    kept = np.flatnonzero(distance[:, 0] > 0)
    logs = np.log(distance[kept, 1] / distance[kept, 0])
    order = np.argsort(logs, kind="stable")
    kept, logs = kept[order], logs[order]

    def statistic(counts: Counts) -> Counts:
        counts = counts[:, kept]
        total = counts.sum(1, keepdims=True)
        below = np.divide(counts.cumsum(1), total, out=np.ones_like(counts), where=total > 0)
        used = below <= 1 - DISCARDED
        # The rows beyond the cut have no finite ordinate: they weigh nothing, and 0 stands in for them.
        weights, heights = counts * used, -np.log1p(-np.where(used, below, 0))
        squares = weights @ logs**2
        return np.divide((weights * heights) @ logs, squares, out=np.full(len(counts), np.nan), where=squares > 0)

    return statistic


def inverse_local_dimensions(distance: Array) -> Array:
    """(n,) 1 / d at each row: the mean of log(r_k / r_j) over j < k (Levina and Bickel, NIPS 2004).

    1 / d is what has no bias and may be averaged (MacKay and Ghahramani, 2005). NaN where r_1 = 0: the row has an
    exact duplicate.

    Args:
        distance: (n, k >= 3) distances to neighbours, nearest first.
    """
    usable = distance[:, 0] > 0
    some = np.where(usable[:, None], distance, 1)
    # k - 2 in place of k - 1 makes d itself unbiased (Levina and Bickel, eq. 9), but not its inverse.
    return np.where(usable, np.log(some[:, -1:] / some[:, :-1]).mean(1), np.nan)


def local_dimensions(distance: Array) -> Array:
    """(n,) d at each row, as ``inverse_local_dimensions``; NaN where that is NaN or 0."""
    inverse = inverse_local_dimensions(distance)
    return np.divide(1, inverse, out=np.full(len(inverse), np.nan), where=inverse > 0)


def mle_dimension(distance: Array) -> float:
    """Dimension of the whole: 1 / mean of the inverse local dimensions (MacKay and Ghahramani, 2005)."""
    inverse = inverse_local_dimensions(distance)
    known = inverse[np.isfinite(inverse)]
    return float(1 / known.mean()) if len(known) and known.mean() > 0 else float("nan")
