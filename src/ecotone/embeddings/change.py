"""Change between two dates as the cosine distance of their embeddings."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ecotone.embeddings.maps import named_files, write_map
from ecotone.embeddings.pairing import Pair, pair_up
from ecotone.embeddings.sampling import unit_rows
from ecotone.embeddings.store import Store

Centre = Literal["each", "common", "none"]
BINS = 256
ROUNDING = 1e-6  # of distances between float32 vectors of length 1
MASK_NODATA = 255


@dataclass(frozen=True)
class Change:
    """The change between two sources.

    Attributes:
        pair: The sources and their common cells.
        distance: (h, w) float32 cosine distance, 0 to 2; NaN where a date has no embedding.
        threshold: Distance that parts change from no change by Otsu's method; NaN without two different distances.
        files: What was written: ``change``, and ``mask`` if asked for.
    """

    pair: Pair
    distance: NDArray[np.float32]
    threshold: float
    files: dict[str, str]

    @property
    def changed(self) -> float:
        """Share of the compared cells beyond the threshold."""
        known = self.distance[np.isfinite(self.distance)]
        return float((known > self.threshold).mean()) if len(known) else float("nan")


def write_change(
    before: Store, after: Store, out: str | Path, *, centre: Centre = "each", mask: str | Path | None = None
) -> list[Change]:
    """Write the change between two dates as a COG on the common cells of each pair of sources.

    Args:
        before: The first date.
        after: The second date, embedded with the same model and settings on the same grid.
        out: A ``.tif`` file, or a folder that gets one file per pair.
        centre: What is subtracted first: the mean of ``each`` date, which takes out what the season and the
            atmosphere do to the whole scene; the ``common`` mean of both; or nothing.
        mask: Where to write 1 for change and 0 for none by Otsu's threshold, as ``out``.

    Raises:
        DataError: The stores were not made alike or share no cells, or a file cannot be written.
    """
    pairs = pair_up(before, after)
    names = [p.before.facts.source_id for p in pairs]
    if len(set(names)) < len(names):
        names = [f"{p.before.facts.source_id}_{p.after.facts.source_id}" for p in pairs]
    files, masks = named_files(names, out), named_files(names, mask) if mask else [None] * len(pairs)
    return [_write(pair, centre, file, other) for pair, file, other in zip(pairs, files, masks, strict=True)]


def _write(pair: Pair, centre: Centre, file: Path, mask: Path | None) -> Change:
    distance = change_distance(pair, centre)
    threshold = otsu(distance[np.isfinite(distance)])
    about = {"before": pair.before.facts.uri, "after": pair.after.facts.uri, "centre": centre}
    origin = pair.origins[0]
    write_map(
        file, distance, pair.before, nodata=float("nan"), description="cosine distance", origin=origin, tags=about
    )
    files = {"change": str(file)}
    if mask:
        cells = np.where(np.isfinite(distance), distance > threshold, MASK_NODATA).astype(np.uint8)
        about["threshold"] = f"{threshold:.6g}"
        write_map(mask, cells, pair.before, nodata=MASK_NODATA, description="change", origin=origin, tags=about)
        files["mask"] = str(mask)
    return Change(pair, distance, threshold, files)


def change_distance(pair: Pair, centre: Centre = "each") -> NDArray[np.float32]:
    """(h, w) cosine distance over the common cells; NaN where a date has no embedding.

    1 - cos(a, b) = |a / |a| - b / |b||^2 / 2 keeps the digits of small distances. Memory is bounded by a row group
    and the map: the vectors of the second date wait in a temporary file.
    """
    out = np.full(pair.shape, np.nan, np.float32)
    means = _means(pair, centre)
    with tempfile.TemporaryFile() as file:
        waiting = np.memmap(file, np.float32, "w+", shape=(*pair.shape, pair.before.facts.dimension))
        there = np.zeros(pair.shape, bool)
        for at, vectors in _cells(pair, 1):
            waiting[at], there[at] = unit_rows(vectors - means[1]), True
        for (row, col), vectors in _cells(pair, 0):
            both = there[row, col]
            row, col = row[both], col[both]
            apart = unit_rows(vectors[both] - means[0]) - waiting[row, col]
            out[row, col] = np.einsum("nd,nd->n", apart, apart) / 2
        del waiting
    return out


def otsu(values: NDArray[np.floating]) -> float:
    """The threshold of largest variance between two classes (Otsu, IEEE Trans. SMC 9, 1979), from 256 bins.

    Args:
        values: (n,) finite.

    Returns:
        NaN where all values are equal, up to the rounding of float32, or there are none.
    """
    if not len(values) or np.ptp(values) <= ROUNDING:
        return float("nan")
    counts, edges = np.histogram(values.astype(np.float64), BINS)
    middles = (edges[:-1] + edges[1:]) / 2
    below = counts.cumsum()[:-1]
    above = below[-1] + counts[-1] - below
    sums = (counts * middles).cumsum()
    between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    return float(edges[1 + int(between.argmax())])


def _cells(pair: Pair, date: int) -> Iterator[tuple[tuple[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]]:
    """Row and column within the common cells, and vectors, of one date."""
    part, (top, left) = (pair.before, pair.after)[date], pair.origins[date]
    for block in part.blocks():
        row, col = block.row // part.facts.step - top, block.col // part.facts.step - left
        inside = (row >= 0) & (row < pair.shape[0]) & (col >= 0) & (col < pair.shape[1])
        if inside.any():
            yield (row[inside], col[inside]), block.vectors[inside]


def _means(pair: Pair, centre: Centre) -> NDArray[np.float32]:
    """(2, D) what is subtracted from either date."""
    sums, counts = np.zeros((2, pair.before.facts.dimension)), np.zeros((2, 1))
    if centre != "none":
        for date in range(2):
            for _, vectors in _cells(pair, date):
                sums[date] += vectors.sum(0, dtype=np.float64)
                counts[date] += len(vectors)
    if centre == "common":
        sums[:], counts[:] = sums.sum(0), counts.sum()
    return (sums / counts.clip(1)).astype(np.float32)
