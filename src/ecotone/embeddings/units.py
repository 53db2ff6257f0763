"""Land units: places whose embeddings cluster together."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import silhouette_score

from ecotone.embeddings.maps import map_files, write_map
from ecotone.embeddings.parts import Part
from ecotone.embeddings.sampling import sample_index, take_vectors, unit_rows
from ecotone.embeddings.store import Store
from ecotone.errors import DataError, RecipeError

NODATA = 255
SAMPLE, JUDGED = 20_000, 2_000  # rows that clusters are fitted on, and that the silhouette is taken of
CHOICES = range(2, 13)


@dataclass(frozen=True)
class Units:
    """Clusters of a store and their maps.

    Attributes:
        centres: (k, D) unit vectors of the cluster centres, the largest cluster first.
        mean: (D,) mean that was subtracted before.
        silhouette: From -1 to 1, of a sample (Rousseeuw 1987): near 0, the units run into each other.
        tried: Number of units -> silhouette, of all numbers that were tried.
        shares: (k,) share of the cells of each unit.
        files: One map per source.
    """

    centres: NDArray[np.float32]
    mean: NDArray[np.float32]
    silhouette: float
    tried: dict[int, float]
    shares: NDArray[np.float64]
    files: list[str]

    @property
    def names(self) -> list[str]:
        """``unit 1`` and so on; number i of the map is the i-th name, from 0."""
        return [f"unit {i}" for i in range(1, len(self.centres) + 1)]


def write_units(store: Store, out: str | Path, *, k: int | None = 8, seed: int = 0) -> Units:
    """Write k-means clusters of a store as a COG of classes per source, with a colour table.

    Clusters are those of MiniBatchKMeans (Sculley, WWW 2010) over centred vectors of length 1, so that the squared
    distance is 2 - 2 cosine. All sources share their units.

    Args:
        store: The embeddings.
        out: A ``.tif`` file, or a folder for several sources.
        k: How many, 2 to 255; None for that of 2 to 12 with the largest silhouette.
        seed: Of the sample and of the clusters.

    Raises:
        RecipeError: k is out of range.
        DataError: There are fewer different vectors than units.
    """
    if k is not None and not 2 <= k <= NODATA:
        raise RecipeError("the number of units lies between 2 and 255", found=k)
    files = map_files(store, out)
    mean = store.mean
    points = unit_rows(take_vectors(store, sample_index(store, SAMPLE, seed)) - mean)
    different = len(np.unique(points, axis=0))
    if different <= (k or 2):
        raise DataError(
            f"too few different embeddings in {store.path} for {k or 2} units",
            found=f"{different} in a sample of {len(points)}",
            expected=f"more than {k or 2}",
            mend="Ask for fewer units, or embed --per patch.",
        )
    judged = points[np.random.default_rng(seed).permutation(len(points))[:JUDGED]]
    fitted = {n: _fit(points, n, seed) for n in ([k] if k else CHOICES) if n < different}
    tried = {n: _silhouette(judged, centres) for n, centres in fitted.items()}
    best = max(tried, key=lambda n: tried[n])
    counts = np.zeros(best)
    for part, file in zip(store.parts, files, strict=True):
        cells = _assigned(part, mean, fitted[best])
        counts += np.bincount(cells[cells != NODATA], minlength=best)
        _write(part, cells, best, file)
    return Units(fitted[best], mean, tried[best], tried, counts / counts.sum(), [str(f) for f in files])


def _fit(points: NDArray[np.float32], k: int, seed: int) -> NDArray[np.float32]:
    """(k, D) centres, those of the largest clusters first."""
    found = MiniBatchKMeans(k, random_state=seed, n_init="auto", batch_size=4096).fit(points)
    order = np.argsort(-np.bincount(found.labels_, minlength=k), kind="stable")
    return np.asarray(found.cluster_centers_, np.float32)[order]


def _nearest(points: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    return (np.square(centres).sum(1) - 2 * points @ centres.T).argmin(1)


def _silhouette(points: NDArray[np.float32], centres: NDArray[np.float32]) -> float:
    said = _nearest(points, centres)
    return float(silhouette_score(points, said)) if 1 < len(np.unique(said)) < len(points) else -1.0


def _assigned(part: Part, mean: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(h, w) number of the unit of each cell."""
    cells, step = np.full(part.grid.size, NODATA, np.uint8), part.facts.step
    for block in part.blocks():
        cells[block.row // step, block.col // step] = _nearest(unit_rows(block.vectors - mean), centres)
    return cells


def _write(part: Part, cells: NDArray[np.uint8], k: int, file: Path) -> None:
    table = colormaps["tab10" if k <= 10 else "tab20" if k <= 20 else "gist_rainbow"]
    at = range(k) if k <= 20 else np.linspace(0, 1, k)
    colours = {i: tuple(int(c) for c in table(x, bytes=True)[:3]) for i, x in enumerate(at)}
    names = json.dumps([f"unit {i}" for i in range(1, k + 1)])
    write_map(file, cells, part, nodata=NODATA, description="land unit", tags={"classes": names}, colormap=colours)
