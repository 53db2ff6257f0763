"""Thresholds that turn scores into decisions, for labels of several classes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RULE = "per class: best F1 on val; best micro F1 on val for classes without a positive there"


def best_thresholds(scores: Tensor, truth: Tensor) -> Tensor:
    """Thresholds by ``RULE``, half-way to the next lower score, the highest among equals.

    Args:
        scores: (N, C).
        truth: (N, C) zeros and ones.

    Returns:
        (C,) float32: a class is said where its score reaches its threshold. Infinite without any positive.
    """
    s, y = scores.double().numpy(), truth.numpy() > 0
    common = _best(s.ravel(), y.ravel())
    chosen = [_best(s[:, c], y[:, c]) if y[:, c].any() else common for c in range(s.shape[1])]
    return torch.tensor(chosen)


def _best(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    if not truth.any():
        return float("inf")
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], truth[order].cumsum()
    ends = np.flatnonzero(np.append(np.diff(ranked) != 0, True))
    f1 = 2 * hits[ends] / (ends + 1 + hits[-1])
    best = int(f1.argmax())
    here = ranked[ends[best]]
    return float((here + ranked[ends[best + 1]]) / 2 if best + 1 < len(ends) else here)
