"""Novelty: how far a place lies from whatever resembles it most."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from ecotone.embeddings.maps import map_files, write_map
from ecotone.embeddings.pairing import check_alike
from ecotone.embeddings.parts import Part
from ecotone.embeddings.sampling import sample_index, take_vectors, unit_rows
from ecotone.embeddings.store import Store
from ecotone.errors import DataError, RecipeError

BLOCK = 4096  # rows whose neighbours are held at once
SAMPLE = 20_000


@dataclass(frozen=True)
class Novelty:
    """The novelty of the cells of one source.

    Attributes:
        part: The source.
        values: (h, w) float32, 0 to 2; NaN where there is no embedding or too few references.
        file: The map.
    """

    part: Part
    values: NDArray[np.float32]
    file: str


def write_novelty(
    store: Store,
    out: str | Path,
    *,
    reference: Store | None = None,
    k: int = 10,
    apart: int | None = None,
    sample: int = SAMPLE,
    seed: int = 0,
) -> list[Novelty]:
    """Write the mean cosine distance to the k nearest references as a COG per source.

    The distance to neighbours as a measure of outliers is that of Ramaswamy, Rastogi and Shim (SIGMOD 2000), here the
    mean of the k distances (Angiulli and Pizzuti, PKDD 2002). Vectors are centred by the mean of the references.

    Args:
        store: The embeddings to map.
        out: A ``.tif`` file, or a folder for several sources.
        reference: What counts as known, made with the same model and settings; the store itself if None.
        k: How many of the nearest references.
        apart: Within the store itself, cells of the same source at most so many rows and columns away are no
            references; None for those whose windows overlap the cell's.
        sample: References drawn at most: the work grows with rows times references.
        seed: Draws them.

    Raises:
        RecipeError: A number is out of range.
        DataError: The stores were not made alike, or there are too few references.
    """
    if k < 1 or (apart is not None and apart < 0):
        raise RecipeError("novelty needs k of at least 1 and apart of at least 0", found=f"k {k}, apart {apart}")
    own = reference is None or reference.path.resolve() == store.path.resolve()
    known = store if own else reference
    assert known is not None
    check_alike(known.facts, store.facts)
    files = map_files(store, out)
    references = _References(known, sample, seed)
    if len(references.unit) < k + own:
        raise DataError(
            f"too few embeddings in {known.path} to find {k} neighbours",
            found=f"{len(references.unit)} rows",
            expected=f"at least {k + own}",
            mend="Lower -k.",
        )
    if apart is None:
        apart = -(-store.facts.cell // store.facts.step) - 1
    parts = zip(store.parts, files, strict=True)
    return [_write(part, i, references, k, apart if own else None, file) for i, (part, file) in enumerate(parts)]


class _References:
    """Unit vectors of references with their places in their store."""

    def __init__(self, store: Store, sample: int, seed: int) -> None:
        index = sample_index(store, sample, seed)
        self.mean = store.mean
        self.unit = unit_rows(take_vectors(store, index) - self.mean)
        self.part = np.searchsorted([p.first for p in store.parts], index, side="right") - 1
        table = store.columns(["row", "col"])
        self.cell = np.stack([table[n].to_numpy()[index] // store.facts.step for n in ("row", "col")], 1)
        self.found = NearestNeighbors(algorithm="brute").fit(self.unit)

    def nearest(self, vectors: NDArray[np.float32], count: int) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """(n, count) cosine distances, nearest first, and which references these are."""
        distance, index = self.found.kneighbors(unit_rows(vectors - self.mean), min(count, len(self.unit)))
        return distance**2 / 2, index


def _write(part: Part, number: int, references: _References, k: int, apart: int | None, file: Path) -> Novelty:
    values = np.full(part.grid.size, np.nan, np.float32)
    left_out = 0 if apart is None else (2 * apart + 1) ** 2
    for block in part.blocks():
        for start in range(0, len(block.row), BLOCK):
            some = slice(start, start + BLOCK)
            cells = np.stack([block.row[some], block.col[some]], 1) // part.facts.step
            away, index = references.nearest(block.vectors[some], k + left_out)
            if apart is not None:
                near = np.abs(cells[:, None] - references.cell[index]).max(2) <= apart
                away = np.sort(np.where(near & (references.part[index] == number), np.inf, away), 1)
            mean = away[:, :k].mean(1)
            values[tuple(cells.T)] = np.where(np.isfinite(mean), mean, np.nan)
    write_map(
        file, values, part, nodata=float("nan"), description=f"mean cosine distance to {k} nearest", tags={"k": str(k)}
    )
    return Novelty(part, values, str(file))
