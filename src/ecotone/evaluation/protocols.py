"""Protocols: ways to measure features. Each chooses on val what it must choose, and answers for test features."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any, Literal, Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from ecotone.errors import RecipeError, nearest
from ecotone.evaluation.features import FeatureSet
from ecotone.heads.knn import knn_scores


class Classifier(Protocol):
    """A fitted protocol.

    Attributes:
        settings: What was chosen, for the row of the score.
    """

    settings: dict[str, Any]

    def predict(self, features: Tensor) -> Tensor:
        """(N,) class indices for standardised features (N, D)."""
        ...


class _Protocol(BaseModel, ABC):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @abstractmethod
    def select(self, train: FeatureSet, val: FeatureSet, classes: int) -> Classifier:
        """Fit on train, choose on val. Features are standardised already."""


class KNN(_Protocol):
    """Weighted vote of the nearest train features by cosine similarity. Nothing is chosen.

    Attributes:
        k: Neighbours.
        temperature: Softness of the vote.
    """

    name: Literal["knn"] = "knn"
    k: int = Field(default=20, ge=1)
    temperature: float = Field(default=0.07, gt=0)

    def select(self, train: FeatureSet, val: FeatureSet, classes: int) -> Classifier:
        return _Neighbours(self, train, classes)


class _Neighbours:
    def __init__(self, protocol: KNN, train: FeatureSet, classes: int) -> None:
        self.train, self.classes, self.temperature = train, classes, protocol.temperature
        self.k = min(protocol.k, len(train.labels))
        self.settings: dict[str, Any] = {"k": self.k, "temperature": self.temperature}

    def predict(self, features: Tensor) -> Tensor:
        scores = knn_scores(
            self.train.features,
            self.train.labels,
            features,
            classes=self.classes,
            k=self.k,
            temperature=self.temperature,
        )
        return torch.from_numpy(scores.numpy().argmax(1))  # numpy's argmax takes the first of equal votes


class LinearProbe(_Protocol):
    """Multinomial logistic regression by L-BFGS; its regularisation is chosen on val, the strongest among equals.

    Attributes:
        grid: Inverse regularisation strengths C, as in scikit-learn, ascending.
        max_iter: Iterations allowed for each C; each starts from the solution before.
    """

    name: Literal["linear"] = "linear"
    grid: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
    max_iter: int = 1000

    def select(self, train: FeatureSet, val: FeatureSet, classes: int) -> Classifier:
        x, y = train.features.double().numpy(), train.labels.numpy()
        if len(np.unique(y)) < 2:
            raise RecipeError("a linear probe needs at least two classes in train", found=1)
        x_val, y_val = val.features.double().numpy(), val.labels.numpy()
        model = LogisticRegression(max_iter=self.max_iter, warm_start=True)
        best: _Linear | None = None
        for c in self.grid:
            model.set_params(C=c)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", ConvergenceWarning)
                model.fit(x, y)
            converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
            accuracy = float(model.score(x_val, y_val))
            if best is None or accuracy > best.settings["val_accuracy"]:
                best = _Linear(model, {"C": c, "val_accuracy": accuracy, "converged": converged})
        assert best is not None
        return best


class _Linear:
    """The weights of one solution, copied out of the model that goes on to the next C."""

    def __init__(self, model: LogisticRegression, settings: dict[str, Any]) -> None:
        self.weight, self.bias = np.array(model.coef_), np.array(model.intercept_)
        self.classes, self.settings = np.array(model.classes_), settings

    def predict(self, features: Tensor) -> Tensor:
        logits = features.double().numpy() @ self.weight.T + self.bias
        index = logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).astype(int)
        return torch.from_numpy(self.classes[index])


PROTOCOLS: dict[str, type[KNN] | type[LinearProbe]] = {"knn": KNN, "linear": LinearProbe}


def protocol(name: str) -> KNN | LinearProbe:
    """The protocol of this name with its published settings.

    Raises:
        RecipeError: No such protocol; the nearest name is suggested.
    """
    if name not in PROTOCOLS:
        raise RecipeError(f"unknown protocol {name!r}", mend=nearest(name, PROTOCOLS))
    return PROTOCOLS[name]()
