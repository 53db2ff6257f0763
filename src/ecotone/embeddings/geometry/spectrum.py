"""How many directions the vectors use: figures of their mean and of the spectrum of their covariance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ecotone.embeddings.sampling import unit_rows

Array = NDArray[np.floating]
Counts = NDArray[np.float64]


def principal_directions(points: Array) -> tuple[Array, Array]:
    """Variances and unit directions of the covariance, largest first.

    Args:
        points: (n, D).

    Returns:
        (D,) eigenvalues >= 0 and (D, D) eigenvectors as rows.
    """
    covariance = np.cov(points.astype(np.float64), rowvar=False, bias=True).reshape(points.shape[1], -1)
    values, vectors = np.linalg.eigh(covariance)
    return values[::-1].clip(0), vectors[:, ::-1].T


def participation_ratio(variances: Array) -> float:
    """(sum of v)^2 / sum of v^2, from 1 to D: the number of equal variances as concentrated as these.

    Known in physics since Bell and Dean (1970), for neural populations Gao et al. (bioRxiv 214262, 2017). 0 without
    any variance.
    """
    total = float(np.sum(variances))
    return total**2 / float(np.sum(np.square(variances))) if total else 0.0


def effective_rank(variances: Array) -> float:
    """Exponential of the entropy of the shares of variance, from 1 to D (Roy and Vetterli, EUSIPCO 2007).

    They take the shares of the singular values of a matrix; here it is the covariance matrix, whose singular values
    are the variances. 0 without any variance.
    """
    total = float(np.sum(variances))
    if not total:
        return 0.0
    shares = np.asarray(variances)[np.asarray(variances) > 0] / total
    return float(np.exp(-np.sum(shares * np.log(shares))))


def anisotropy(points: Array) -> float:
    """Mean cosine of all pairs of rows, -1 / (n - 1) to 1 (Ethayarajh, EMNLP 2019).

    Near 0 where directions are spread evenly; near 1 where all vectors share one direction, so that cosines say
    little. Exact over all pairs: the sum of the cosines is the squared length of the sum of unit vectors. Rows of
    zeros have no direction and count as cosine 0.
    """
    return float(anisotropy_of(points)(np.ones((1, len(points))))[0])


def anisotropy_of(points: Array) -> Callable[[Counts], Counts]:
    """Anisotropy of rows counted (B, n) times each, for a bootstrap; a row makes no pair with itself."""
    unit = unit_rows(points).astype(np.float64)
    own = np.einsum("nd,nd->n", unit, unit)

    def statistic(counts: Counts) -> Counts:
        squares = counts**2
        pairs = counts.sum(1) ** 2 - squares.sum(1)
        cosines = np.square(counts @ unit).sum(1) - squares @ own
        return np.divide(cosines, pairs, out=np.full(len(counts), np.nan), where=pairs > 0)

    return statistic
