"""k nearest neighbours: classes by a weighted vote, values by a weighted mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from ecotone.evaluation.features import FeatureSet
from ecotone.evaluation.protocols.base import Head, Predict, Protocol, best_on_val, finish
from ecotone.evaluation.tasks import Task
from ecotone.heads.knn import neighbours, votes, weighted_mean

Found = Callable[[Tensor], tuple[Tensor, Tensor]]  # queries -> similarities and indices (N, k), nearest first


class KNN(Protocol):
    """Weighted vote of the nearest train features by cosine similarity. Nothing is chosen.

    The defaults are those of Wu et al. (CVPR 2018), which Scale-MAE's evaluation uses. Several classes per image get
    the weighted share of neighbours that have them, values the weighted mean.

    Attributes:
        k: Neighbours.
        temperature: Softness of the vote.
    """

    title: ClassVar[str] = "kNN"
    name: Literal["knn"] = "knn"
    k: int = Field(default=20, ge=1)
    temperature: float = Field(default=0.07, gt=0)

    def select(self, train: FeatureSet, val: FeatureSet, task: Task) -> Head:
        k = min(self.k, len(train.labels))
        predict = _predict(train, task, lambda queries: neighbours(train.features, queries, k), k, self.temperature)
        return finish(predict, {"k": k, "temperature": self.temperature}, val, task)


class KNNGrid(Protocol):
    """The same vote, with k chosen on val; the largest among equals.

    Attributes:
        grid: Numbers of neighbours.
        temperature: Softness of the vote.
    """

    title: ClassVar[str] = "kNN, k chosen on val"
    name: Literal["knn-grid"] = "knn-grid"
    grid: tuple[int, ...] = (1, 3, 5, 10, 20, 50, 100)
    temperature: float = Field(default=0.07, gt=0)

    def fixed(self, settings: Mapping[str, Any]) -> KNNGrid:
        return self.model_copy(update={"grid": (settings["k"],)})

    def select(self, train: FeatureSet, val: FeatureSet, task: Task) -> Head:
        grid = sorted({min(k, len(train.labels)) for k in self.grid}, reverse=True)
        find = _remembering(lambda queries: neighbours(train.features, queries, grid[0]))
        candidates = [
            ({"k": k, "temperature": self.temperature}, _predict(train, task, find, k, self.temperature)) for k in grid
        ]
        return best_on_val(candidates, val, task)


def _remembering(find: Found) -> Found:
    """The same, with the last queries' neighbours kept: they are found once, for every k."""
    last: list[tuple[Tensor, tuple[Tensor, Tensor]]] = []

    def found(queries: Tensor) -> tuple[Tensor, Tensor]:
        if not last or last[0][0] is not queries:
            last[:] = [(queries, find(queries))]
        return last[0][1]

    return found


def _predict(train: FeatureSet, task: Task, find: Found, k: int, temperature: float) -> Predict:
    labels = train.labels

    def predict(queries: Tensor) -> Tensor:
        similarity, index = (part[:, :k] for part in find(queries))
        if labels.is_floating_point():
            return weighted_mean(similarity, index, labels, temperature)
        classes = max(len(task.classes), int(labels.max()) + 1)
        cast = votes(similarity, index, labels, classes=classes, temperature=temperature).double()
        return cast / cast.sum(1, keepdim=True)

    return predict
