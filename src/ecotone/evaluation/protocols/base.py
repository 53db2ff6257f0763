"""What every protocol is, and how it chooses on val."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ecotone.evaluation.features import FeatureSet
from ecotone.evaluation.tasks import Task
from ecotone.metrics import Answers

Candidate = tuple[dict[str, Any], "Predict"]
Predict = Callable[[Tensor], Tensor]  # standardised features (N, D) -> scores (N, C) or values (N,)


@dataclass
class Fitted(ABC):
    """A protocol after its choices.

    Attributes:
        settings: What was chosen, for the row of the score.
    """

    settings: dict[str, Any]

    @abstractmethod
    def answer(self, test: FeatureSet) -> Answers:
        """Answers for standardised features, beside the truth."""


@dataclass
class Head(Fitted):
    """A head that predicts labels.

    Attributes:
        settings: For the row of the score.
        task: Judges the predictions.
        predict: Standardised features (N, D) -> scores (N, C) of classes, or values (N,).
        thresholds: (C,) of the decisions, or None.
        tried: Settings and prediction of every candidate that val was asked about, this one among them.
    """

    task: Task
    predict: Predict
    thresholds: Tensor | None = None
    tried: Sequence[Candidate] = ()

    def answer(self, test: FeatureSet) -> Answers:
        return self.task.judge(self.predict(test.features), test.labels, self.thresholds)


class Protocol(BaseModel, ABC):
    """A way to measure features; its fields are its settings in the contract."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    title: ClassVar[str]
    name: str

    @abstractmethod
    def select(self, train: FeatureSet, val: FeatureSet, task: Task) -> Fitted:
        """Fit on train, choose on val. Features are standardised already."""

    def fixed(self, settings: Mapping[str, Any]) -> Self:
        """The same protocol without a choice: it takes what was chosen before, as the settings of a score say it."""
        return self

    def metrics(self, task: Task) -> tuple[str, ...]:
        """Names of what is measured, the main metric first.

        Raises:
            RecipeError: The protocol cannot measure this task.
        """
        return task.metrics

    def chance(self, train: FeatureSet, val: FeatureSet, task: Task) -> Fitted:
        """What one scores who never looks at an image."""
        answer = task.prior(train.labels)
        said = {"answer": answer.item()} if answer.ndim == 0 else {"answer": "class frequencies of train"}
        return finish(lambda features: answer.expand(len(features), *answer.shape), said, val, task)


def best_on_val(candidates: Iterable[Candidate], val: FeatureSet, task: Task) -> Head:
    """The candidate of the best main metric on val, the first among equals, with its thresholds.

    Args:
        candidates: Settings and prediction of each, the most cautious first.
        val: Standardised features and labels.
        task: Says what best means.
    """
    metric, best, tried = task.main, None, list(candidates)
    for settings, predict in tried:
        value = metric.value(task.judge(predict(val.features), val.labels))
        if best is None or metric.gain(value) > metric.gain(best[0]):
            best = value, settings, predict
    assert best is not None
    value, settings, predict = best
    return replace(finish(predict, {**settings, f"val_{metric.name}": value}, val, task), tried=tried)


def finish(predict: Predict, settings: dict[str, Any], val: FeatureSet, task: Task) -> Head:
    """A head with the thresholds that val prefers, where the task needs some."""
    thresholds = task.thresholds(predict(val.features), val.labels)
    if thresholds is not None:
        shown = [round(t, 6) if t < torch.inf else None for t in thresholds.tolist()]
        settings = {**settings, "thresholds": shown}
    return Head(settings, task, predict, thresholds)
