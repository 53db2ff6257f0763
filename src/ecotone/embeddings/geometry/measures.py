"""All that is measured on one cloud of vectors: the sample of a store, or a Gaussian to compare it with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecotone.embeddings.geometry.dimension import inverse_local_dimensions, mle_dimension
from ecotone.embeddings.geometry.neighbours import Neighbours, k_occurrence, nearest_neighbours
from ecotone.embeddings.geometry.spectrum import principal_directions
from ecotone.embeddings.geometry.tangents import alignment, rotation, tangent_spaces
from ecotone.embeddings.sampling import unit_rows

Array = NDArray[np.floating]
TANGENTS = 1000  # rows whose tangent space is fitted


@dataclass(frozen=True)
class Measures:
    """What was measured at each row.

    Attributes:
        variances: (D,) along the principal directions of the centred vectors.
        neighbours: The k nearest of each row, by the cosine of centred vectors.
        inverse_dimension: (n,) inverse of the local dimension; NaN at duplicates.
        occurrence: (n,) k-occurrence.
        tangent_dimension: Dimensions d of the tangent spaces.
        rotation: (m,) degrees by which the tangent space turns from a row to its k-th neighbour.
        alignment: (m,) share of the tangent space within the d leading principal directions.
    """

    variances: Array
    neighbours: Neighbours
    inverse_dimension: Array
    occurrence: NDArray[np.int64]
    tangent_dimension: int
    rotation: Array
    alignment: Array


def measure(centred: Array, k: int, *, seed: int = 0, tangent: int | None = None) -> Measures:
    """Measure a cloud of vectors.

    Neighbours are those that search finds: by the distance of unit vectors, whose square is 2 - 2 cosine. The tangent
    space at the k-th neighbour, not at the nearest, because the nearest shares most of its own neighbours.

    Args:
        centred: (n, D) vectors with their mean subtracted, n > k.
        k: Neighbours of each row.
        seed: Chooses the rows whose tangent spaces are fitted.
        tangent: Dimensions of a tangent space; None for the dimension by maximum likelihood, at most half of k.
    """
    variances, directions = principal_directions(centred)
    points = unit_rows(centred)
    near = nearest_neighbours(points, k)
    d = tangent or _tangent_dimension(mle_dimension(near.distance), min(k // 2, points.shape[1]))
    rows = np.random.default_rng(seed).permutation(len(points))[:TANGENTS]
    here, there = (tangent_spaces(points, r, near.index, d) for r in (rows, near.index[rows, -1]))
    return Measures(
        variances=variances,
        neighbours=near,
        inverse_dimension=inverse_local_dimensions(near.distance),
        occurrence=k_occurrence(near.index),
        tangent_dimension=d,
        rotation=rotation(here, there),
        alignment=alignment(here, directions[:d]),
    )


def gaussian_twin(centred: Array, *, seed: int = 0) -> Array:
    """(n, D) draws from the Gaussian of mean 0 with the covariance of (n, D) vectors.

    It has their spectrum but neither curvature nor clusters: what a figure says beyond the covariance is its distance
    from the same figure of this twin.
    """
    variances, directions = principal_directions(centred)
    draws = np.random.default_rng(seed).normal(size=centred.shape)
    return (draws * np.sqrt(variances) @ directions).astype(np.float32)


def _tangent_dimension(dimension: float, most: int) -> int:
    return max(1, min(most, round(dimension))) if np.isfinite(dimension) else 1
