"""Tasks: what the labels of a dataset are, how answers are judged, and what one answers without looking.

A task is the seam for new kinds of labels. It says how predictions become decisions, which metrics judge them, and
what a reader should know about the labels. A dense task would add metrics over per-image counts, such as the confusion
of each image's pixels: images are what a bootstrap draws, so ``Answers`` and ``Metric`` hold for it as well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ecotone.data.base import DatasetInfo
from ecotone.data.labels import split_label
from ecotone.errors import DataError
from ecotone.heads.tasks import MEASURED
from ecotone.heads.thresholds import best_thresholds
from ecotone.metrics import METRICS, Answers, Metric


@dataclass(frozen=True)
class Task(ABC):
    """What is asked of every image.

    Attributes:
        classes: Class names, in the order of the labels; empty for values.
    """

    classes: tuple[str, ...] = ()
    name: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]  # the main metric first: it makes every choice and the verdict
    needs_label: ClassVar[bool] = True  # an empty label is a mistake
    draws: ClassVar[int] = 4000  # of the bootstrap

    @property
    def main(self) -> Metric:
        return METRICS[self.metrics[0]]

    def judge(self, predicted: Tensor, truth: Tensor, thresholds: Tensor | None = None) -> Answers:
        """Answers from what a head predicts: scores (N, C) of classes, or values (N,)."""
        return Answers(truth, predicted)

    def thresholds(self, predicted: Tensor, truth: Tensor) -> Tensor | None:
        """(C,) thresholds of the decisions, chosen on val; None where decisions need none."""
        return None

    @abstractmethod
    def prior(self, labels: Tensor) -> Tensor:
        """What one predicts for every image after seeing the train labels alone."""

    def warnings(self, train: Sequence[str], test: Sequence[str]) -> list[str]:
        """What the labels as written tell a reader of the scores."""
        return []


class _Classes(Task):
    """A task with named classes."""

    def warnings(self, train: Sequence[str], test: Sequence[str]) -> list[str]:
        seen = Counter(name for label in train for name in self._names(label))
        asked = {name for label in test for name in self._names(label)}
        lost = sorted(asked - set(seen))
        found = [f"Classes absent from train, so never predicted: {', '.join(lost)}."] if lost else []
        single = sorted(name for name, n in seen.items() if n == 1)
        if single:
            found.append(f"Classes with a single training sample: {', '.join(single)}.")
        return found

    def _names(self, label: str) -> list[str]:
        return [label]


class Classification(_Classes):
    """One class per image."""

    name = "classification"
    metrics = MEASURED["classification"]

    def judge(self, predicted: Tensor, truth: Tensor, thresholds: Tensor | None = None) -> Answers:
        said = predicted.numpy().argmax(1)  # numpy takes the first of equal scores
        return Answers(truth, torch.from_numpy(said), predicted)

    def prior(self, labels: Tensor) -> Tensor:
        return torch.bincount(labels) / len(labels)


class MultiLabel(_Classes):
    """Any number of classes per image. Scores rank; thresholds chosen on val decide."""

    name = "multilabel"
    metrics = MEASURED["multilabel"]
    needs_label = False
    draws = 1000  # each of them ranks all samples anew

    def judge(self, predicted: Tensor, truth: Tensor, thresholds: Tensor | None = None) -> Answers:
        decisions = None if thresholds is None else predicted >= thresholds
        return Answers(truth, decisions, predicted)

    def thresholds(self, predicted: Tensor, truth: Tensor) -> Tensor:
        return best_thresholds(predicted, truth)

    def prior(self, labels: Tensor) -> Tensor:
        return labels.mean(0)

    def warnings(self, train: Sequence[str], test: Sequence[str]) -> list[str]:
        asked = {name for label in test for name in self._names(label)}
        absent = [name for name in self.classes if name not in asked]
        found = [f"Classes absent from test, so not part of any macro mean over classes: {', '.join(absent)}."]
        return super().warnings(train, test) + (found if absent else [])

    def _names(self, label: str) -> list[str]:
        return split_label(label)


class Regression(Task):
    """One value per image."""

    name = "regression"
    metrics = MEASURED["regression"]

    def prior(self, labels: Tensor) -> Tensor:
        return labels.mean()


TASKS: dict[str, type[Task]] = {t.name: t for t in (Classification, MultiLabel, Regression)}


def task_of(info: DatasetInfo) -> Task:
    """The task of a dataset; labels of a dataset that names none are classes.

    Raises:
        DataError: It cannot be evaluated.
    """
    if info.task != "none" and info.task not in TASKS:
        raise DataError(
            f"{info.name} cannot be evaluated: its task is not about whole images",
            found=info.task,
            expected="classification (a single label), multilabel or regression",
        )
    return TASKS.get(info.task, Classification)(info.classes)
