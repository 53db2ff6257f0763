"""The area under the receiver operating characteristic, with an interval where samples come in groups."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

Z = 1.959964  # standard deviations on either side of the mean that hold 95 % of a normal distribution


def grouped_auc(
    scores: NDArray[np.floating], truth: NDArray[np.bool_], groups: NDArray[np.int64]
) -> tuple[float, tuple[float, float] | None]:
    """The area under the curve and its 95 % interval, for samples that resemble others of their group.

    With one sample to a group the variance is that of DeLong et al. (Biometrics 44, 1988), else that of Obuchowski
    (Biometrics 53, 1997): the same with sums over groups in place of samples. The interval is symmetric on the scale of
    log odds, so that it stays within 0 and 1.

    Args:
        scores: (n,) finite; higher where the truth is more likely.
        truth: (n,) of both kinds.
        groups: (n,) number of the group of each sample; groups are taken as independent.

    Returns:
        The area, and the interval: None where one of the two kinds lies in a single group, or nothing is confused.
    """
    wins = _placed(scores[truth], np.sort(scores[~truth]))
    losses = 1 - _placed(scores[~truth], np.sort(scores[truth]))
    area = float(wins.mean())
    parts = [_sums(groups[kind], placed - area) for kind, placed in ((truth, wins), (~truth, losses))]
    (own, sums), (other, other_sums) = parts
    if min(len(own), len(other)) < 2 or not 0 < area < 1:
        return area, None
    total = len(np.union1d(own, other))
    _, here, there = np.intersect1d(own, other, return_indices=True)
    variance = sum(len(s) / (len(s) - 1) * np.square(s).sum() for s in (sums, other_sums))
    variance += 2 * total / (total - 1) * (sums[here] * other_sums[there]).sum()
    half = Z * np.sqrt(max(0.0, variance)) / (area * (1 - area))
    low, high = expit(logit(area) + np.array([-half, half]))
    return area, (float(low), float(high))


def _placed(scores: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float64]:
    """(m,) share of the other scores, which are sorted, that each is above; ties count half."""
    both = np.searchsorted(others, scores, "left") + np.searchsorted(others, scores, "right")
    return both / (2 * len(others))


def _sums(groups: NDArray[np.int64], values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The groups there are, and the sum over each of the values, which are divided by their number."""
    found, number = np.unique(groups, return_inverse=True)
    return found, np.bincount(number, weights=values / len(values)).astype(np.float64)
