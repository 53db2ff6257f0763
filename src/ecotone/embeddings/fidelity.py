"""What storing vectors in fewer bytes loses, measured on the rows that are stored."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ecotone.embeddings.schema import Fidelity

NEIGHBOURS = 10
SAMPLE = 2000  # rows of a source whose neighbours are compared


class FidelityMeter:
    """Compares vectors with what is stored of them, as they come by.

    Args:
        expected: Rows that may come at most; the sample is spread evenly over them.
    """

    def __init__(self, expected: int) -> None:
        self._every = max(1, math.ceil(expected / SAMPLE))
        self._cosines, self._rows = 0.0, 0
        self._sample: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, vectors: np.ndarray, stored: np.ndarray) -> None:
        """Compare rows (n, D) with what reading gives back of them (n, D)."""
        self._cosines += float(_cosines(vectors, stored).sum())
        kept = slice(-self._rows % self._every, None, self._every)
        self._sample.append((vectors[kept].copy(), stored[kept].copy()))
        self._rows += len(vectors)

    def result(self) -> Fidelity:
        """The figures for all rows so far, of which there must be at least one."""
        before, after = (np.concatenate(part) for part in zip(*self._sample, strict=True))
        return Fidelity(
            mean_cosine=self._cosines / self._rows,
            recall_at_10=neighbour_recall(before, after, NEIGHBOURS),
            rows=self._rows,
            sample=len(before),
        )


def neighbour_recall(before: np.ndarray, after: np.ndarray, k: int) -> float | None:
    """Mean share of the k nearest neighbours that are found with the stored vectors.

    Neighbours are those of the largest cosine of centred vectors, as in ``search``, among the rows given. One that the
    original vectors place as near as their k-th counts as found, so that rows which are equal do no harm.

    Args:
        before: (n, D) original vectors.
        after: (n, D) stored vectors.
        k: Neighbours of each row.

    Returns:
        0 to 1; None for k + 1 rows or fewer, where all others are neighbours.
    """
    if len(before) <= k + 1:
        return None
    original, stored = (_similarities(v) for v in (before, after))
    found = np.argpartition(-stored, k - 1, axis=1)[:, :k]
    limit = -np.partition(-original, k - 1, axis=1)[:, k - 1 : k]
    return float((np.take_along_axis(original, found, 1) >= limit - 1e-6).mean())


def pooled(parts: Sequence[Fidelity]) -> Fidelity:
    """The figures of several sources as one: means weighted by their rows and their samples."""
    rows = sum(p.rows for p in parts)
    sampled = [p for p in parts if p.recall_at_10 is not None]
    sample = sum(p.sample for p in sampled)
    recall = sum(p.recall_at_10 * p.sample for p in sampled if p.recall_at_10 is not None)
    return Fidelity(
        mean_cosine=sum(p.mean_cosine * p.rows for p in parts) / rows,
        recall_at_10=recall / sample if sampled else None,
        rows=rows,
        sample=sum(p.sample for p in parts),
    )


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n,) cosines; 1 where both vectors are zero."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    same = np.einsum("nd,nd->n", a, b)
    return np.where(length > 0, same / np.where(length > 0, length, 1), (a == b).all(1))


def _similarities(vectors: np.ndarray) -> np.ndarray:
    """(n, n) cosines of centred vectors, those of a row with itself below all."""
    centred = vectors - vectors.mean(0, dtype=np.float64).astype(np.float32)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True).clip(1e-12)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -2)
    return similar
