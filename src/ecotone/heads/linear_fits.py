"""Exact fits of linear models on fixed features. Apart from the head: those who only use one need no scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from ecotone.errors import RecipeError

Array = NDArray[np.float64]
# Inverse regularisation strengths C of the logistic regression, as in scikit-learn, and strengths of the ridge
# regression; both from strong to weak regularisation.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
ALPHAS = (1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1.0, 1e-1, 1e-2)
CERTAIN = 30.0  # the logit of what all or no training samples have: finite, so that training can go on from it


@dataclass(frozen=True)
class LinearFit:
    """A linear model of one strength of regularisation.

    Attributes:
        settings: The strength, ``C`` or ``alpha``, and whether the solver ``converged``.
        weight: (K, D) float64.
        bias: (K,) float64.
    """

    settings: dict[str, Any]
    weight: Tensor
    bias: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """(N, K) float64 scores of features (N, D): logits, or values."""
        return features.double() @ self.weight.T + self.bias


def linear_fits(
    x: Tensor,
    labels: Tensor,
    outputs: int,
    *,
    strengths: Sequence[float] = STRENGTHS,
    alphas: Sequence[float] = ALPHAS,
    max_iter: int = 1000,
) -> Iterator[LinearFit]:
    """Linear models of features, from strong to weak regularisation.

    One class per sample: multinomial logistic regression by L-BFGS. Several: one such regression for each class against
    the rest. Values: ridge regression, with an intercept that is not regularised.

    Args:
        x: (N, D) standardised features.
        labels: (N,) class indices, (N, K) zeros and ones, or (N,) float values.
        outputs: Scores K.
        strengths: C, ascending.
        alphas: Of the ridge regression, descending.
        max_iter: Iterations allowed for each C; each starts from the solution before.

    Raises:
        RecipeError: All samples have the same label.
    """
    features, y = x.double().numpy(), labels.numpy()
    if y.dtype == np.int64:
        return _one_of_all(features, y, outputs, strengths, max_iter)
    if y.ndim == 2:
        return _one_against_rest(features, y > 0, strengths, max_iter)
    return _ridge(features, y.astype(np.float64), alphas)


def _one_of_all(
    x: Array, y: NDArray[np.int64], outputs: int, strengths: Sequence[float], max_iter: int
) -> Iterator[LinearFit]:
    if len(np.unique(y)) < 2:
        raise RecipeError("a linear probe needs at least two classes in train", found=1)
    model = LogisticRegression(max_iter=max_iter, warm_start=True)
    weight, bias = np.zeros((outputs, x.shape[1])), np.full(outputs, -CERTAIN)
    for c in strengths:
        converged = _fit(model, c, x, y)
        known = model.classes_ if len(model.classes_) > 2 else model.classes_[1:]  # of two, the first has score 0
        bias[model.classes_] = 0
        weight[known], bias[known] = model.coef_, model.intercept_
        yield _linear_fit({"C": c, "converged": converged}, weight, bias)


def _one_against_rest(x: Array, y: NDArray[np.bool_], strengths: Sequence[float], max_iter: int) -> Iterator[LinearFit]:
    mixed = np.flatnonzero(y.any(0) & ~y.all(0))
    if not len(mixed):
        raise RecipeError("a linear probe needs a class that some images of train have and others have not")
    models = {c: LogisticRegression(max_iter=max_iter, warm_start=True) for c in mixed}
    weight, bias = np.zeros((y.shape[1], x.shape[1])), np.where(y.all(0), CERTAIN, -CERTAIN)
    for strength in strengths:
        converged = True
        for c, model in models.items():
            converged &= _fit(model, strength, x, y[:, c])
            weight[c], bias[c] = model.coef_[0], np.atleast_1d(model.intercept_)[0]
        yield _linear_fit({"C": strength, "converged": converged}, weight, bias)


def _ridge(x: Array, y: Array, alphas: Sequence[float]) -> Iterator[LinearFit]:
    for alpha in alphas:
        model = Ridge(alpha=alpha).fit(x, y)
        yield _linear_fit({"alpha": alpha}, np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_))


def _fit(model: LogisticRegression, strength: float, x: Array, y: NDArray[Any]) -> bool:
    """Fit from where the model is; whether it converged."""
    model.C = strength
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(x, y)
    return not any(issubclass(w.category, ConvergenceWarning) for w in caught)


def _linear_fit(settings: dict[str, Any], weight: Array, bias: Array) -> LinearFit:
    """The arrays are copied: the solver goes on with them to the next strength."""
    return LinearFit(settings, torch.tensor(weight), torch.tensor(bias))
