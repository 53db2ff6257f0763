"""Rows behind an index: rough scores from codes of four or eight bits, exact ones from vectors mapped from disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ecotone.embeddings.index_codes import Encoded, Plane, encode, margin
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
        offset: (D,) what decoded codes lack: the centre of the codes minus that of the rows.
        worst: By bits, largest norm of what the codes leave out, relative to the row's norm.
        worst_size: Largest norm that decoded codes may have, relative to the row's norm.
    """

    weight: np.ndarray
    inverse: np.ndarray
    offset: np.ndarray
    worst: dict[int, float]
    worst_size: float


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
        width = facts.dimension + facts.dimension % 2
        self.vectors = Vectors([load_vectors(folder, s, facts.dimension) for s in facts.sources])
        self.codes = Vectors([self._load(s, "codes", width, np.int8) for s in facts.sources])
        errors = np.concatenate([self._load(s, "errors", 3, np.float32) for s in facts.sources])
        self._encoded = Encoded(np.empty(0), *errors.T.copy())
        self._frames = {True: self._frame(True), False: self._frame(False)}

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: np.ndarray) -> np.ndarray:
        return self.vectors[rows]

    @property
    def exhaustive(self) -> FloatScan:
        return FloatScan(self.vectors, self.mean)

    def scorer(self, directions: np.ndarray, centre: bool) -> tuple[Scorer, float]:
        bits = 4 if len(directions) == 1 else 8
        planes, frame = self._nibbles if bits == 4 else self._bytes, self._frames[centre]
        query = encode(directions, self.state.rotation)
        unit = (query.scale * (256 if bits == 4 else 1))[:, None]
        shift = (directions @ frame.offset)[:, None]

        def score(first: int, stop: int) -> np.ndarray:
            products = planes[first // BLOCK].products(query.codes)
            scores = np.multiply(products, frame.weight[first:stop], dtype=np.float32, casting="unsafe")
            scores *= unit
            return scores + shift * frame.inverse[first:stop] if shift.any() else scores

        lost = float(query.errors[bits].max())
        return score, margin(frame.worst[bits], frame.worst_size, lost, self.facts.dimension)

    def refined(self, direction: np.ndarray, rows: np.ndarray, bounds: np.ndarray, centre: bool) -> np.ndarray:
        if len(rows) <= CHUNK:
            return bounds
        query, frame = encode(direction[None], self.state.rotation), self._frames[centre]
        products = self.codes[rows].astype(np.float32) @ query.codes[0].astype(np.float32)
        scores = products * frame.weight[rows] * query.scale + frame.inverse[rows] * (direction @ frame.offset)
        return scores + margin(frame.worst[8], frame.worst_size, float(query.byte_error[0]), self.facts.dimension)

    def _frame(self, centre: bool) -> _Frame:
        state, code = self.state, self._encoded
        offset = state.centre - state.mean if centre else state.centre
        norms = state.norms if centre else state.plain_norms
        inverse = np.where(norms > TINY, 1 / norms, 0).astype(np.float32)
        sizes = (norms + np.linalg.norm(offset) + code.nibble_error) * inverse
        worst = {bits: float((error * inverse).max()) for bits, error in code.errors.items()}
        return _Frame(code.scale * inverse, inverse, offset, worst, float(sizes.max()))

    @cached_property
    def _nibbles(self) -> list[Plane]:
        return [Plane(self.codes[a:b], 4) for a, b in self.spans]

    @cached_property
    def _bytes(self) -> list[Plane]:
        return [Plane(self.codes[a:b], 8) for a, b in self.spans]

    def _load(self, source: SourceEntry, kind: str, width: int, dtype: type) -> np.ndarray:
        return load(self.folder / f"{source.number}.{kind}.npy", (source.rows, width), dtype)
