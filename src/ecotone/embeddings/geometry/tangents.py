"""Tangent spaces: the directions in which the neighbours of a row lie, and how they turn from place to place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
BLOCK_FLOATS = 2**23  # numbers of the neighbourhoods held at once, 64 MiB


def tangent_spaces(points: Array, rows: NDArray[np.int64], index: NDArray[np.int64], dimension: int) -> Array:
    """The leading directions of local PCA, over a row and its neighbours.

    Args:
        points: (n, D).
        rows: (m,) rows.
        index: (n, k) neighbours of every row.
        dimension: d, at most k and D.

    Returns:
        (m, d, D) orthonormal rows, that of the largest variance first.
    """
    step = max(1, BLOCK_FLOATS // ((index.shape[1] + 1) * points.shape[1]))
    parts = []
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        around = points[np.concatenate([some[:, None], index[some]], 1)].astype(np.float64)
        around -= around.mean(1, keepdims=True)
        parts.append(np.linalg.svd(around, full_matrices=False)[2][:, :dimension])
    return np.concatenate(parts)


def principal_angles(one: Array, other: Array) -> Array:
    """(m, d) angles in degrees between pairs of subspaces, smallest first.

    Arc tangents of the parts within and beyond the other subspace keep small angles exact, where an arc cosine does
    not (Knyazev and Argentati, SIAM J. Sci. Comput. 23, 2002).

    Args:
        one: (m, d, D) orthonormal rows.
        other: (m, d, D) orthonormal rows.
    """
    product = one @ other.swapaxes(1, 2)
    cosines = np.linalg.svd(product, compute_uv=False).clip(0, 1)
    sines = np.linalg.svd(one - product @ other, compute_uv=False)[:, ::-1].clip(0, 1)
    return np.degrees(np.arctan2(sines, cosines))


def rotation(one: Array, other: Array) -> Array:
    """(m,) tangent rotation in degrees: root mean square of the principal angles, 0 (parallel) to 90."""
    return np.sqrt((principal_angles(one, other) ** 2).mean(1))


def alignment(local: Array, directions: Array) -> Array:
    """(m,) share of local tangent spaces (m, d, D) that lies in the span of d common directions (d, D), 0 to 1.

    The mean squared cosine of the principal angles. A random subspace has d / D on average.
    """
    return np.square(local @ directions.T).sum((1, 2)) / local.shape[1]


def random_rotation(dimension: int, ambient: int, *, pairs: int = 64, seed: int = 0) -> float:
    """Mean rotation in degrees between random subspaces of d dimensions in D: what unrelated places would show."""
    draws = np.random.default_rng(seed).normal(size=(2, pairs, ambient, dimension))
    one, other = np.linalg.qr(draws)[0].swapaxes(2, 3)
    return float(rotation(one, other).mean())
