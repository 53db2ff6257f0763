"""Linear probes: logistic regression for classes, ridge regression for values; regularisation chosen on val."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor

from ecotone.evaluation.features import FeatureSet
from ecotone.evaluation.protocols.base import Head, Predict, Protocol, best_on_val
from ecotone.evaluation.tasks import Task
from ecotone.heads.linear_fits import ALPHAS, STRENGTHS, LinearFit, linear_fits


class LinearProbe(Protocol):
    """A linear model on frozen features; its regularisation is chosen on val, the strongest among equals.

    See ``ecotone.heads.linear.linear_fits``.

    Attributes:
        grid: Inverse regularisation strengths C of the logistic regression, as in scikit-learn, ascending.
        max_iter: Iterations allowed for each C; each starts from the solution before.
        alphas: Regularisation strengths of the ridge regression, descending.
    """

    title: ClassVar[str] = "Linear probe"
    name: Literal["linear"] = "linear"
    grid: tuple[float, ...] = STRENGTHS
    max_iter: int = 1000
    alphas: tuple[float, ...] = ALPHAS

    def fixed(self, settings: Mapping[str, Any]) -> LinearProbe:
        if "C" in settings:
            return self.model_copy(update={"grid": (settings["C"],)})
        return self.model_copy(update={"alphas": (settings["alpha"],)})

    def select(self, train: FeatureSet, val: FeatureSet, task: Task) -> Head:
        labels = train.labels
        known = 0 if labels.is_floating_point() else int(labels.max()) + 1
        fits = linear_fits(
            train.features,
            labels,
            max(1, len(task.classes), known),
            strengths=self.grid,
            alphas=self.alphas,
            max_iter=self.max_iter,
        )
        return best_on_val(_candidates(fits, labels), val, task)


def _candidates(fits: Iterator[LinearFit], labels: Tensor) -> Iterator[tuple[dict[str, Any], Predict]]:
    for fit in fits:
        yield fit.settings, lambda features, fit=fit: _predict(fit, features, labels)


def _predict(fit: LinearFit, features: Tensor, labels: Tensor) -> Tensor:
    """Probabilities (N, C) of classes, or values (N,)."""
    scores = fit.scores(features)
    if not labels.is_floating_point():
        return scores.softmax(1)
    return scores.sigmoid().float() if labels.ndim == 2 else scores[:, 0].float()
