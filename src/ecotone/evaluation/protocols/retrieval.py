"""Retrieval: test images as queries, train images as the gallery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ecotone.errors import RecipeError
from ecotone.evaluation.features import FeatureSet
from ecotone.evaluation.protocols.base import Fitted, Protocol
from ecotone.evaluation.tasks import Task
from ecotone.heads.knn import neighbours
from ecotone.metrics import Answers

BLOCK = 2**24  # pairs of query and gallery image whose labels are compared at once


class Retrieval(Protocol):
    """The k train images nearest to each test image by cosine similarity. Nothing is chosen.

    A train image is relevant to a query if they share a class. Average precision at k is the sum of the precision at
    every relevant hit, over the hits that were possible, min(k, relevant images) (Weyand et al., arXiv 2004.01804).
    Recall at k is the share of the relevant images among the first k; where more than k are relevant it cannot reach 1.
    A query without any relevant image counts 0 in both.

    Attributes:
        k: Images retrieved.
    """

    title: ClassVar[str] = "Retrieval"
    name: Literal["retrieval"] = "retrieval"
    k: int = Field(default=20, ge=1)

    def metrics(self, task: Task) -> tuple[str, ...]:
        if task.name == "regression":
            raise RecipeError("retrieval needs classes", found="a regression task", mend="Choose knn or linear.")
        return "map_at_k", "recall_at_k"

    def select(self, train: FeatureSet, val: FeatureSet, task: Task) -> Fitted:
        k = min(self.k, len(train.labels))
        return Gallery({"k": k}, train, k)

    def chance(self, train: FeatureSet, val: FeatureSet, task: Task) -> Fitted:
        k = min(self.k, len(train.labels))
        return RandomOrder({"k": k, "answer": "random order, in expectation"}, train, k)


@dataclass
class Gallery(Fitted):
    """Train features that answer queries with the k nearest."""

    train: FeatureSet
    k: int

    def answer(self, test: FeatureSet) -> Answers:
        _, index = neighbours(self.train.features, test.features, self.k)
        queries, gallery = _indicators(test.labels, self.train.labels)
        hits = torch.cat([_shared(q, gallery[i]) for q, i in zip(queries.split(1024), index.split(1024), strict=True)])
        relevant = _relevant(queries, gallery)
        return Answers(test.labels, each=_scores(hits.double(), relevant))


@dataclass
class RandomOrder(Fitted):
    """The expected scores of a gallery in random order.

    Rank i holds a relevant image with probability R / M, and then, on average, (i - 1) (R - 1) / (M - 1) of those
    before it are relevant.
    """

    train: FeatureSet
    k: int

    def answer(self, test: FeatureSet) -> Answers:
        queries, gallery = _indicators(test.labels, self.train.labels)
        relevant, m = _relevant(queries, gallery), len(gallery)
        rank = torch.arange(1, self.k + 1, dtype=torch.float64)
        before = (rank - 1) * (relevant[:, None] - 1) / max(1, m - 1)
        gained = (relevant[:, None] / m * (1 + before) / rank).sum(1)
        possible = relevant.clamp(min=1, max=self.k)
        recall = (relevant > 0).double() * self.k / m
        return Answers(test.labels, each={"map_at_k": gained / possible, "recall_at_k": recall})


def _scores(hits: Tensor, relevant: Tensor) -> dict[str, Tensor]:
    """Scores (N,) from hits (N, k) in order of rank and the number of relevant images (N,)."""
    rank = torch.arange(1, hits.shape[1] + 1)
    precision = hits.cumsum(1) / rank
    possible = relevant.clamp(min=1, max=hits.shape[1])
    return {"map_at_k": (precision * hits).sum(1) / possible, "recall_at_k": hits.sum(1) / relevant.clamp_min(1)}


def _indicators(queries: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
    """Labels of both as (N, C) zeros and ones."""
    if queries.ndim == 2:
        return queries, gallery
    classes = int(max(queries.max(), gallery.max())) + 1
    return F.one_hot(queries, classes).float(), F.one_hot(gallery, classes).float()


def _shared(queries: Tensor, found: Tensor) -> Tensor:
    """(N, k): whether a query (N, C) shares a class with each of its neighbours (N, k, C)."""
    return torch.einsum("nc,nkc->nk", queries, found) > 0


def _relevant(queries: Tensor, gallery: Tensor) -> Tensor:
    """(N,) float64: gallery images that share a class with each query."""
    step = max(1, BLOCK // len(gallery))
    return torch.cat([(part @ gallery.T > 0).sum(1) for part in queries.split(step)]).double()
