"""Linear probes: logistic regression for classes, ridge regression for values; regularisation chosen on val."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from ecotone.errors import RecipeError
from ecotone.evaluation.features import FeatureSet
from ecotone.evaluation.protocols.base import Head, Predict, Protocol, best_on_val
from ecotone.evaluation.tasks import Task

Candidates = Iterator[tuple[dict[str, Any], Predict]]


class LinearProbe(Protocol):
    """A linear model on frozen features; its regularisation is chosen on val, the strongest among equals.

    One class per image: multinomial logistic regression by L-BFGS. Several: one such regression for each class against
    the rest, under one common regularisation. Values: ridge regression, with an intercept that is not regularised.

    Attributes:
        grid: Inverse regularisation strengths C of the logistic regression, as in scikit-learn, ascending.
        max_iter: Iterations allowed for each C; each starts from the solution before.
        alphas: Regularisation strengths of the ridge regression, descending.
    """

    title: ClassVar[str] = "Linear probe"
    name: Literal["linear"] = "linear"
    grid: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
    max_iter: int = 1000
    alphas: tuple[float, ...] = (1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1.0, 1e-1, 1e-2)

    def select(self, train: FeatureSet, val: FeatureSet, task: Task) -> Head:
        x, y = train.features.double().numpy(), train.labels.numpy()
        if y.dtype == np.int64:
            candidates = self._one_of_all(x, y)
        elif y.ndim == 2:
            candidates = self._one_against_rest(x, y > 0)
        else:
            candidates = self._ridge(x, y.astype(np.float64))
        return best_on_val(candidates, val, task)

    def _one_of_all(self, x: NDArray[np.float64], y: NDArray[np.int64]) -> Candidates:
        if len(np.unique(y)) < 2:
            raise RecipeError("a linear probe needs at least two classes in train", found=1)
        model = LogisticRegression(max_iter=self.max_iter, warm_start=True)
        for c in self.grid:
            converged = _fit(model, c, x, y)
            yield (
                {"C": c, "converged": converged},
                _decide(_logits(model.coef_, np.atleast_1d(model.intercept_)), model.classes_),
            )

    def _one_against_rest(self, x: NDArray[np.float64], y: NDArray[np.bool_]) -> Candidates:
        mixed = np.flatnonzero(y.any(0) & ~y.all(0))
        if not len(mixed):
            raise RecipeError("a linear probe needs a class that some images of train have and others have not")
        models = {c: LogisticRegression(max_iter=self.max_iter, warm_start=True) for c in mixed}
        # A class that all or no train images have keeps weights of 0 and says so with certainty.
        weight, bias = np.zeros((y.shape[1], x.shape[1])), np.where(y.all(0), np.inf, -np.inf)
        for strength in self.grid:
            converged = True
            for c, model in models.items():
                converged &= _fit(model, strength, x, y[:, c])
                weight[c], bias[c] = model.coef_[0], np.atleast_1d(model.intercept_)[0]
            logits = _logits(weight, bias)
            yield {"C": strength, "converged": converged}, lambda f, logits=logits: logits(f).sigmoid().float()

    def _ridge(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> Candidates:
        for alpha in self.alphas:
            model = Ridge(alpha=alpha).fit(x, y)
            value = _logits(np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_))
            yield {"alpha": alpha}, lambda f, value=value: value(f)[:, 0].float()


def _fit(model: LogisticRegression, strength: float, x: NDArray[np.float64], y: NDArray[Any]) -> bool:
    """Fit from where the model is; whether it converged."""
    model.C = strength
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(x, y)
    return not any(issubclass(w.category, ConvergenceWarning) for w in caught)


def _logits(weight: NDArray[np.float64], bias: NDArray[np.float64]) -> Predict:
    """Features -> (N, C) float64. The weights are copied: the model goes on to the next strength."""
    w, b = torch.tensor(weight), torch.tensor(bias)
    return lambda features: features.double() @ w.T + b


def _decide(logits: Predict, classes: NDArray[np.int64]) -> Predict:
    known = torch.tensor(classes)

    def predict(features: Tensor) -> Tensor:
        found = logits(features)
        return known[found.argmax(1) if found.shape[1] > 1 else (found[:, 0] > 0).long()]

    return predict
