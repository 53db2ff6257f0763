"""Rows behind an index: rough scores from codes of eight bits, exact ones from vectors mapped from disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ecotone.embeddings.index_codes import Plane, encode, margin
from ecotone.embeddings.index_facts import IndexFacts, SourceEntry
from ecotone.embeddings.index_files import load, load_vectors, read_state
from ecotone.embeddings.scan import BLOCK, CHUNK, TINY, FloatScan, Scan, Scorer


class Vectors:
    """Vectors of several sources, mapped from disk, indexed as one array by a slice or by rows.

    Args:
        parts: (n_i, D) float32 of each source.
    """

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self.parts = parts
        self.firsts = np.cumsum([0, *(len(p) for p in parts)])

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        if isinstance(rows, slice):
            first, stop, _ = rows.indices(len(self))
            begin = int(np.searchsorted(self.firsts, first, side="right")) - 1
            touched = range(begin, int(np.searchsorted(self.firsts, stop)))
            return np.concatenate([self.parts[s][max(0, first - (f := self.firsts[s])) : stop - f] for s in touched])
        rows = np.asarray(rows, np.int64)
        source = np.searchsorted(self.firsts, rows, side="right") - 1
        out = np.empty((len(rows), self.parts[0].shape[1]), self.parts[0].dtype)
        for s in np.unique(source):
            own = source == s
            out[own] = self.parts[s][rows[own] - self.firsts[s]]
        return out


@dataclass(frozen=True)
class _Frame:
    """What turns products of codes into cosines of rows that are centred, or are not.

    Attributes:
        weight: (n,) scale of a row's codes over its norm.
        inverse: (n,) one over its norm, 0 for a row without direction.
        rest: (n,) norm of what follows a row's head, relative to the row's norm.
        offset: (D,) what decoded codes lack: the centre of the codes minus that of the rows.
        margin: By the scale of a query, how much rounding may take from a cosine.
    """

    weight: np.ndarray
    inverse: np.ndarray
    rest: np.ndarray
    offset: np.ndarray
    margin: Callable[[float], float]


class IndexScan(Scan):
    """The rows of an index.

    Args:
        folder: The folder of its generation.
        facts: Its facts.

    Attributes:
        vectors: (n, D) float32, mapped.
        state: What all rows share.

    Raises:
        UnusableIndex: A file is missing or damaged.
    """

    def __init__(self, folder: Path, facts: IndexFacts) -> None:
        self.folder, self.facts, self.threads = folder, facts, torch.get_num_threads()
        self.state = read_state(folder, facts)
        self.mean = self.state.mean
        self.vectors = Vectors([load_vectors(folder, s, facts.dimension) for s in facts.sources])
        self.codes = Vectors([self._load(s, "codes", facts.dimension, np.int8) for s in facts.sources])
        scales = np.concatenate([self._load(s, "scales", 2, np.float32) for s in facts.sources])
        self._frames = {centre: self._frame(centre, *scales.T.copy()) for centre in (True, False)}

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: np.ndarray) -> np.ndarray:
        return self.vectors[rows]

    @property
    def exhaustive(self) -> FloatScan:
        return FloatScan(self.vectors, self.mean)

    def scorer(self, directions: np.ndarray, centre: bool) -> tuple[Scorer, float]:
        frame, query = self._frames[centre], encode(directions, self.state.rotation, self.state.head)
        heads = self._heads  # laid out here, not by several threads at once
        codes, shift = query.codes[:, : self.state.head], directions @ frame.offset

        def score(first: int, stop: int) -> np.ndarray:
            products = heads[first // BLOCK].products(codes)
            weight, rest, inverse = (each[first:stop] for each in (frame.weight, frame.rest, frame.inverse))
            scores = np.empty(products.shape, np.float32)
            for i, out in enumerate(scores):  # one by one, what is worked on stays in the cache
                np.multiply(products[i], weight, out=out, casting="unsafe")
                out *= query.scale[i]
                if query.rest[i]:
                    out += query.rest[i] * rest
                if shift[i]:
                    out += shift[i] * inverse
            return scores

        return score, frame.margin(float(query.scale.max()))

    def refined(self, direction: np.ndarray, rows: np.ndarray, bounds: np.ndarray, centre: bool) -> np.ndarray:
        if len(rows) <= CHUNK:
            return bounds
        query, frame = encode(direction[None], self.state.rotation, self.state.head), self._frames[centre]
        runs = np.array_split(rows, -(-len(rows) // BLOCK))
        products = np.concatenate([Plane(self.codes[run]).products(query.codes)[0] for run in runs])
        scores = products * frame.weight[rows] * query.scale + frame.inverse[rows] * (direction @ frame.offset)
        return scores + frame.margin(float(query.scale[0]))

    def _frame(self, centre: bool, scale: np.ndarray, rest: np.ndarray) -> _Frame:
        state = self.state
        offset = state.centre - state.mean if centre else state.centre
        norms = state.norms if centre else state.plain_norms
        inverse = np.where(norms > TINY, 1 / norms, 0).astype(np.float32)
        rounded = scale * np.sqrt(self.facts.dimension) / 2
        size = float(((norms + np.linalg.norm(offset) + rounded) * inverse).max())
        worst = float((scale * inverse).max())
        return _Frame(scale * inverse, inverse, rest * inverse, offset, lambda lost: margin(worst, size, lost))

    @cached_property
    def _heads(self) -> list[Plane]:
        return [Plane(self.codes[a:b][:, : self.state.head]) for a, b in self.spans]

    def _load(self, source: SourceEntry, kind: str, width: int, dtype: type) -> np.ndarray:
        return load(self.folder / f"{source.number}.{kind}.npy", (source.rows, width), dtype)
