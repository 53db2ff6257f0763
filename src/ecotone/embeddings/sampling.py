"""Rows of a store: a sample drawn by a seed and read in bounded memory, and their directions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecotone.embeddings.store import Store


def sample_index(store: Store, count: int, seed: int = 0) -> NDArray[np.int64]:
    """(m,) sorted row numbers, m <= count: all rows where there are no more, else drawn without replacement."""
    if len(store) <= count:
        return np.arange(len(store))
    return np.sort(np.random.default_rng(seed).choice(len(store), count, replace=False))


def take_vectors(store: Store, index: NDArray[np.int64]) -> NDArray[np.float32]:
    """(m, D) vectors of sorted rows (m,), without holding those of the others."""
    out, start = np.empty((len(index), store.facts.dimension), np.float32), 0
    for block in store.blocks():
        low, high = np.searchsorted(index, [start, start + len(block.row)])
        out[low:high] = block.vectors[index[low:high] - start]
        start += len(block.row)
    return out


def unit_rows(points: NDArray[Any]) -> NDArray[Any]:
    """(n, D) rows of length 1; rows of zeros stay zero."""
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    return points / np.where(lengths > 0, lengths, 1)
