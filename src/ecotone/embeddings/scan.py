"""Nearest rows by the cosine of centred vectors: a rough pass over all rows, then exact values of the best ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np

BLOCK = 65_536  # rows scored at a time: the scores of one query stay in the cache
QUERIES = 64  # most queries scored at a time
SCORES = 2**26  # most scores kept at a time, 256 MiB
FEW = 4  # fewer queries are scored one by one: what reads the fewest bytes is then the fastest
SAMPLE = 16_384  # scores that set the first threshold
DIRECT = 8192  # as few allowed rows are compared exactly at once
CHUNK = 64  # rows compared exactly at a time
TINY = 1e-12

Found = tuple[np.ndarray, np.ndarray]  # rows (m,), and their cosines (m,) float64, nearest first
Scorer = Callable[[int, int], np.ndarray]


class Scan(ABC):
    """Rows that are compared with queries roughly, a block at a time, and exactly, one by one.

    Attributes:
        mean: (D,) float32 mean of all rows.
        threads: How many blocks are scored at the same time.
    """

    mean: np.ndarray
    threads = 1

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, rows: np.ndarray) -> np.ndarray:
        """(m, D) float32 vectors of these rows."""

    @abstractmethod
    def scorer(self, directions: np.ndarray, centre: bool) -> tuple[Scorer, float]:
        """What gives rough cosines (q, m) float32 of the rows from one to another, and how far they may be too low.

        Args:
            directions: (q, D) float32 of unit length.
            centre: Whether the mean is subtracted from the rows.
        """

    @property
    def complete(self) -> Scan:
        """The same rows without a graph, which may miss some."""
        return self

    @property
    def exhaustive(self) -> Scan:
        """The same rows in full precision: slow, and the measure of everything else."""
        return self

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First row of each block and the one after its last."""
        return [(a, min(a + BLOCK, len(self))) for a in range(0, len(self), BLOCK)]

    def units(self, rows: np.ndarray, centre: bool = True) -> np.ndarray:
        """(m, D) float64 vectors of these rows, centred, of unit length; zeros where a row equals the mean."""
        vectors = self.take(rows).astype(np.float64) - (self.mean if centre else 0)
        return vectors / np.sqrt(np.einsum("nd,nd->n", vectors, vectors)).clip(TINY)[:, None]

    def candidates(
        self, directions: np.ndarray, k: int, centre: bool, allowed: np.ndarray | None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each direction the rows that may be among the nearest (m,), and upper bounds of their cosines (m,)."""
        scores = np.empty((len(directions), len(self)), np.float32)
        score, margin = self.scorer(directions, centre)

        def fill(span: tuple[int, int]) -> None:
            scores[:, slice(*span)] = score(*span)

        self._each(fill, self.spans)
        if allowed is not None:
            scores[:, ~allowed] = -np.inf
        return self._each(lambda i: self._passing(directions[i], scores[i], margin, k, centre), range(len(directions)))

    def refined(self, direction: np.ndarray, rows: np.ndarray, bounds: np.ndarray, centre: bool) -> np.ndarray:
        """Closer upper bounds of the cosines of candidates (m,), where there are any."""
        return bounds

    def exact(self, direction: np.ndarray, rows: np.ndarray, bounds: np.ndarray, k: int, centre: bool) -> Found:
        """The k best candidates; they are compared, best bound first, until the next bound falls below the k-th."""
        bounds = self.refined(direction, rows, bounds, centre)
        order = np.argsort(-bounds, kind="stable")
        rows, bounds = rows[order], bounds[order]
        cosines, step = np.empty(0), max(CHUNK, 2 * k)
        for start in range(0, len(rows), step):
            if start and bounds[start] < np.partition(cosines, -k)[-k]:
                break
            cosines = np.concatenate([cosines, self._cosines(direction, rows[start : start + step], centre)])
        best = np.lexsort((rows[: len(cosines)], -cosines))[:k]
        return rows[best], cosines[best]

    def _passing(self, direction: np.ndarray, scores: np.ndarray, margin: float, k: int, centre: bool) -> Found:
        """Rows whose score comes close enough to the exact cosine of the k best by score."""
        sample = scores[:: max(1, len(scores) // max(SAMPLE, 4 * k))]
        least = np.partition(sample, -k)[-k] if k <= len(sample) else -np.inf
        best = np.flatnonzero(scores >= least) if np.isfinite(least) else np.flatnonzero(np.isfinite(scores))
        if len(best) >= k:
            most = min(len(best), max(CHUNK, 2 * k))
            best = best[np.argpartition(scores[best], -most)[-most:]]
            floor = np.partition(self._cosines(direction, best, centre), -k)[-k]
            best = np.flatnonzero(scores >= np.float32(floor - margin))
        return best, scores[best] + margin

    def _cosines(self, direction: np.ndarray, rows: np.ndarray, centre: bool) -> np.ndarray:
        # Row by row and in double precision, so that equal vectors tie whatever path led to them.
        return np.einsum("nd,d->n", self.units(rows, centre), direction.astype(np.float64))

    def _each(self, work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        if self.threads == 1:
            return [work(i) for i in items]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(work, items))


class FloatScan(Scan):
    """Vectors in full precision.

    Args:
        vectors: (n, D) float32; anything that is indexed like an array.
        mean: (D,) float32.
    """

    def __init__(self, vectors: Any, mean: np.ndarray) -> None:
        self.vectors, self.mean = vectors, mean

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: np.ndarray) -> np.ndarray:
        return self.vectors[rows]

    def scorer(self, directions: np.ndarray, centre: bool) -> tuple[Scorer, float]:
        mean, sizes = (self.mean, self._centred_norms) if centre else (np.zeros_like(self.mean), self._norms)

        def score(first: int, stop: int) -> np.ndarray:
            return directions @ (self.vectors[first:stop] - mean).T / sizes[first:stop]

        return score, 1e-5

    @cached_property
    def _centred_norms(self) -> np.ndarray:
        return np.concatenate([norms(self.vectors[a:b] - self.mean) for a, b in self.spans])

    @cached_property
    def _norms(self) -> np.ndarray:
        return np.concatenate([norms(self.vectors[a:b]) for a, b in self.spans])


def norms(rows: np.ndarray) -> np.ndarray:
    """(n,) norms of rows, never zero."""
    return np.sqrt(np.einsum("nd,nd->n", rows, rows)).clip(TINY)


def nearest(
    scan: Scan, directions: np.ndarray, k: int, *, centre: bool = True, allowed: np.ndarray | None = None
) -> list[Found]:
    """The k rows nearest to each direction by cosine, nearest first; ties go to the earlier row.

    Args:
        scan: The rows.
        directions: (q, D) of unit length.
        k: How many rows of each; fewer where fewer are allowed.
        centre: Subtract the mean from the rows.
        allowed: (n,) bool; None for all rows.

    Returns:
        Rows and cosines for each direction.
    """
    directions = np.ascontiguousarray(directions, np.float32)
    if allowed is not None and allowed.sum() <= DIRECT:
        rows = np.flatnonzero(allowed)
        return [scan.exact(d, rows, np.full(len(rows), np.inf), k, centre) for d in directions]
    step = 1 if len(directions) < FEW else max(1, min(QUERIES, SCORES // len(scan)))
    found: list[Found] = []
    for start in range(0, len(directions), step):
        part = directions[start : start + step]
        rough = scan.candidates(part, k, centre, allowed)
        found += [scan.exact(d, *r, k, centre) for d, r in zip(part, rough, strict=True)]
    return found
