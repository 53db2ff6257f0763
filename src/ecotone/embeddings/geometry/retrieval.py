"""How well search would do at each row, and how local geometry predicts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.neighbors import NearestNeighbors

from ecotone.embeddings.geometry.measures import Measures

Array = NDArray[np.floating]
Counts = NDArray[np.float64]


def spatial_recall(index: NDArray[np.int64], boxes: Array) -> Array:
    """(n,) share of the k neighbours by embedding that are among the k nearest on the ground, 0 to 1.

    Needs no labels: nearby places are alike more often than not (Tobler 1970). Random neighbours reach k / (n - 1).

    Args:
        index: (n, k) neighbours by embedding.
        boxes: (n, 4) west, south, east, north of each row in degrees.
    """
    lon, lat = np.radians(boxes[:, [0, 1]] + boxes[:, [2, 3]]).T / 2
    # Chords of the sphere order places as great circles do, over the poles and the antimeridian too.
    globe = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], 1)
    ground = NearestNeighbors(n_neighbors=index.shape[1], algorithm="kd_tree").fit(globe).kneighbors()[1]
    return (index[:, :, None] == ground[:, None, :]).any(2).mean(1)


def label_precision(index: NDArray[np.int64], labels: NDArray[np.int64]) -> Array:
    """(n,) share of a row's k neighbours that have its label; NaN for rows without a label.

    Neighbours without a label count as of another one.

    Args:
        index: (n, k) neighbours by embedding.
        labels: (n,) classes; below 0 for none.
    """
    return np.where(labels >= 0, (labels[index] == labels[:, None]).mean(1), np.nan)


def predictors(measures: Measures) -> Mapping[str, Array]:
    """What local geometry says at each row: (n,) local dimension, density and k-occurrence.

    Density is -log of the distance to the k-th neighbour, so that it grows where vectors lie close.
    """
    inverse, furthest = measures.inverse_dimension, measures.neighbours.distance[:, -1]
    defined = inverse > 0
    return {
        "local dimension": np.divide(1, inverse, out=np.full(len(inverse), np.nan), where=defined),
        "density": -np.log(np.where(furthest > 0, furthest, np.nan)),
        "k-occurrence": measures.occurrence.astype(np.float64),
    }


def rank_correlation_of(one: Array, other: Array) -> Callable[[Counts], Counts]:
    """Spearman's rank correlation of rows counted (B, n) times each; rows with a NaN are left out.

    The ranks are those among all rows, held fixed, so that a bootstrap is one matrix product.
    """
    both = np.flatnonzero(np.isfinite(one) & np.isfinite(other))
    if len(both) < 2:
        return lambda counts: np.full(len(counts), np.nan)
    a, b = ((rankdata(x[both]) - (len(both) + 1) / 2) / len(both) for x in (one, other))

    def statistic(counts: Counts) -> Counts:
        counts = counts[:, both]
        total = counts.sum(1)
        moments = (counts @ np.stack([a, b, a * a, b * b, a * b], 1)).T / np.where(total > 0, total, 1)
        spread = np.sqrt(((moments[2] - moments[0] ** 2) * (moments[3] - moments[1] ** 2)).clip(0))
        covariance = moments[4] - moments[0] * moments[1]
        return np.divide(covariance, spread, out=np.full(len(counts), np.nan), where=spread > 1e-12)

    return statistic
