"""A linear model of a few examples, whose score is a cosine, so that searching by it is searching by a vector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ecotone.embeddings.scan import Scan
from ecotone.errors import DataError

DRAWN = 1000  # rows that stand for negatives where none are given
STRENGTH = 10.0  # inverse of the penalty: vectors of unit length need large weights


@dataclass(frozen=True)
class Model:
    """A logistic regression on centred vectors of unit length: ``probability = sigmoid(length * cosine + bias)``.

    Attributes:
        direction: (D,) float32 unit normal of its decision plane.
        length: Norm of its weights.
        bias: Its bias.
    """

    direction: np.ndarray
    length: float
    bias: float

    def probabilities(self, cosines: np.ndarray) -> np.ndarray:
        """(n,) from 0 to 1 of rows with these cosines to the direction."""
        return 1 / (1 + np.exp(-(self.length * cosines + self.bias)))


def fit(scan: Scan, positives: np.ndarray, negatives: np.ndarray, *, centre: bool = True, seed: int = 0) -> Model:
    """Fit a model; the two classes weigh the same.

    Args:
        scan: The rows.
        positives: (p,) rows of examples.
        negatives: (m,) rows of counter-examples; if there are none, rows are drawn from the store. A few of those may
            be what is sought, which weakens the model a little.
        centre: Subtract the store's mean.
        seed: Of the draw.

    Raises:
        DataError: A row is both, or there is nothing to tell apart.
    """
    from sklearn.linear_model import LogisticRegression  # only this kind of search waits for it

    if both := np.intersect1d(positives, negatives).tolist():
        raise DataError(f"row {both[0]} is an example and a counter-example at once", mend="Give one of the two.")
    if not len(negatives):
        others = np.setdiff1d(np.arange(len(scan)), positives, assume_unique=True)
        negatives = np.sort(np.random.default_rng(seed).choice(others, min(DRAWN, len(others)), replace=False))
    if not len(negatives):
        raise DataError("all rows of the store are examples, so there is nothing to tell them from")
    units = scan.units(np.concatenate([positives, negatives]), centre)
    labels = np.repeat([1, 0], [len(positives), len(negatives)])
    fitted = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000).fit(units, labels)
    weights = fitted.coef_[0]
    length = float(np.linalg.norm(weights))
    if length < 1e-9:
        raise DataError("examples and counter-examples have the same embeddings, so no model tells them apart")
    return Model((weights / length).astype(np.float32), length, float(fitted.intercept_[0]))
