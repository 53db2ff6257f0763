"""The geometry report of a store: figures of its vectors, each beside that of a Gaussian of the same covariance."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecotone.embeddings.geometry import figures
from ecotone.embeddings.geometry.figures import Figure
from ecotone.embeddings.geometry.measures import Measures, gaussian_twin, measure
from ecotone.embeddings.geometry.neighbours import duplicate_rate
from ecotone.embeddings.geometry.retrieval import label_precision, spatial_recall
from ecotone.embeddings.sampling import sample_index, take_vectors
from ecotone.embeddings.store import Store
from ecotone.errors import DataError, RecipeError

SAMPLE = 10_000


@dataclass(frozen=True)
class GeometryReport:
    """What the vectors of a store look like.

    Attributes:
        store: Path of the store.
        model_hash: Model that made it.
        rows: Rows of the store.
        sampled: Rows that were measured.
        dimension: Length D of a vector.
        k: Neighbours of each row.
        seed: Of the sample, of the twin and of the intervals.
        figures: Every figure.
        measures: What was measured at each sampled row, for plots.
        twin: The same of the Gaussian twin.
        index: (n,) row numbers of the sampled rows.
    """

    store: str
    model_hash: str
    rows: int
    sampled: int
    dimension: int
    k: int
    seed: int
    figures: tuple[Figure, ...]
    measures: Measures = field(repr=False)
    twin: Measures = field(repr=False)
    index: NDArray[np.int64] = field(repr=False)

    def __getitem__(self, name: str) -> float | None:
        """The value of a figure by its name; None where it is not defined."""
        return next(f.value for f in self.figures if f.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the measures of single rows, ready for JSON."""
        plain = {k: v for k, v in vars(self).items() if k not in ("figures", "measures", "twin", "index")}
        return {**plain, "figures": {f.name: asdict(f) for f in self.figures}}


def geometry_report(
    store: Store,
    *,
    k: int = 20,
    sample: int = SAMPLE,
    seed: int = 0,
    labels: NDArray[np.int64] | None = None,
) -> GeometryReport:
    """Measure the geometry of a store's vectors. Memory is bounded by the sample, not by the store.

    Vectors are centred by the store's mean, and neighbours are those by cosine, as in ``search``. Only the duplicate
    rate is of all rows; the other figures are of the sample, where neighbours lie further apart than in the whole.

    Args:
        store: The embeddings.
        k: Neighbours of each row.
        sample: Rows that are measured at most.
        seed: Draws the sample, the Gaussian twin and the bootstrap.
        labels: (len(store),) classes, below 0 for none: adds how well neighbours share a label.

    Raises:
        DataError: The store has too few rows, or the labels are not one per row.
        RecipeError: There are fewer than three neighbours.
    """
    if k < 3:
        raise RecipeError("local dimensions need at least 3 neighbours", found=k)
    index = sample_index(store, sample, seed)
    if len(index) < k + 2:
        raise DataError(
            f"too few embeddings in {store.path} to measure their geometry",
            found=f"{len(index)} rows",
            expected=f"at least {k + 2}",
            mend="Lower -k, or embed --per patch.",
        )
    if labels is not None and len(labels) != len(store):
        raise DataError("the labels must be one per row of the store", found=len(labels), expected=len(store))
    vectors = take_vectors(store, index)
    centred = vectors - store.mean
    measured = measure(centred, k, seed=seed)
    twin = measure(gaussian_twin(centred, seed=seed), k, seed=seed, tangent=measured.tangent_dimension)
    near = measured.neighbours.index
    quality: dict[str, Any] = {"spatial recall": spatial_recall(near, store.boxes[index])}
    chance = {"spatial recall": k / (len(index) - 1)}
    if labels is not None:
        quality["label precision"] = label_precision(near, labels[index])
        chance["label precision"] = _chance(labels[index])
    found = (
        *figures.of_directions(vectors, centred, measured, seed),
        *figures.of_neighbours(measured, twin, seed),
        figures.duplicates(duplicate_rate(store)),
        *figures.of_tangents(measured, twin, store.facts.dimension),
        *figures.of_retrieval(measured, quality, chance, seed),
    )
    return GeometryReport(
        store=str(store.path),
        model_hash=store.facts.model_hash,
        rows=len(store),
        sampled=len(index),
        dimension=store.facts.dimension,
        k=k,
        seed=seed,
        figures=found,
        measures=measured,
        twin=twin,
        index=index,
    )


def _chance(labels: NDArray[np.int64]) -> float:
    """Label precision of random neighbours."""
    counts = np.bincount(labels[labels >= 0])
    known = counts.sum()
    return float((counts * (counts - 1)).sum() / (known * max(1, len(labels) - 1))) if known else math.nan
