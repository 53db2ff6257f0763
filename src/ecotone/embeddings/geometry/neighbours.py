"""Exact nearest neighbours within a sample, and what they say about hubs and duplicates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from ecotone.embeddings.store import Store

Array = NDArray[np.floating]
SAME = 1e-6  # of the longest vector: float32 tells no smaller distances apart


@dataclass(frozen=True)
class Neighbours:
    """The k nearest other rows of each row, nearest first.

    Attributes:
        index: (n, k) rows.
        distance: (n, k) Euclidean distances; 0 between duplicates.
    """

    index: NDArray[np.int64]
    distance: Array


def nearest_neighbours(points: Array, k: int) -> Neighbours:
    """Exact neighbours by Euclidean distance.

    Args:
        points: (n, D), n > k.
        k: How many.
    """
    distance, index = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points).kneighbors()
    # The distance of duplicates is the rounding error of |a|^2 + |b|^2 - 2ab.
    longest = float(np.linalg.norm(points, axis=1).max())
    return Neighbours(index, np.where(distance <= SAME * longest, 0.0, distance))


def k_occurrence(index: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) N_k: among the neighbours (n, k) of how many other rows each row is; its mean is k."""
    return np.bincount(index.ravel(), minlength=len(index))


def hubness(occurrence: NDArray[np.int64]) -> float:
    """Skewness of the k-occurrence: E[(N_k - k)^3] / sd^3 (Radovanović, Nanopoulos and Ivanović, JMLR 2010).

    0 where rows are neighbours about equally often; large where a few hubs turn up in most result lists.
    """
    away = occurrence - occurrence.mean()
    spread = np.sqrt(np.mean(away**2))
    return float(np.mean(away**3) / spread**3) if spread else 0.0


def duplicate_rate(store: Store) -> float:
    """Share of all rows, 0 to 1, whose vector equals that of another row exactly.

    Eight bytes per row are held, not the vectors.
    """
    hashes = np.concatenate([[hash(v.tobytes()) for v in block.vectors] for block in store.blocks()])
    counts = np.unique(hashes, return_counts=True)[1]
    return float(counts[counts > 1].sum() / len(hashes))
