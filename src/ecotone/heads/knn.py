"""Nearest neighbours: a head without parameters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

QUERIES, BANK = 1024, 2**14  # a block of similarities holds 64 MiB
TARGETS = 2**24  # numbers of the neighbours' targets that are gathered at once, 64 MiB


def neighbours(train: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest training features by cosine similarity, nearest first.

    Exact. Queries and training features go in blocks, so that memory beyond the arguments is bounded.

    Args:
        train: (M, D) features; they are L2-normalised here, and not otherwise changed.
        queries: (N, D).
        k: Neighbours; all of them where M is smaller.

    Returns:
        Similarities (N, k) float32 and indices into train (N, k) int64.
    """
    k = min(k, len(train))
    best = torch.full((len(queries), k), -torch.inf)
    where = torch.zeros(len(queries), k, dtype=torch.int64)
    wide = max(QUERIES, QUERIES * BANK // max(1, len(train)))
    for first in range(0, len(train), BANK):
        bank = F.normalize(train[first : first + BANK].float(), dim=1)
        for start in range(0, len(queries), wide):
            part = slice(start, start + wide)
            found = F.normalize(queries[part].float(), dim=1) @ bank.T
            values, places = found.topk(min(k, found.shape[1]), dim=1)
            merged, known = torch.cat([best[part], values], 1), torch.cat([where[part], places + first], 1)
            best[part], order = merged.topk(k, dim=1)
            where[part] = known.gather(1, order)
    return best, where


def knn_scores(
    train: Tensor, labels: Tensor, queries: Tensor, *, classes: int, k: int = 20, temperature: float = 0.07
) -> Tensor:
    """Weighted vote of the k nearest training features by cosine similarity (Wu et al., CVPR 2018).

    Each neighbour votes ``exp(similarity / temperature)`` for its class.

    Args:
        train: (M, D) features.
        labels: (M,) int64 class indices.
        queries: (N, D).
        classes: Number of classes.
        k: Neighbours; all of them where M is smaller.
        temperature: Softness of the vote.

    Returns:
        (N, classes) summed votes.
    """
    return votes(*neighbours(train, queries, k), labels, classes=classes, temperature=temperature)


def votes(similarity: Tensor, index: Tensor, labels: Tensor, *, classes: int, temperature: float) -> Tensor:
    """(N, classes) summed votes ``exp(similarity / temperature)`` of neighbours (N, k) for their classes (M,)."""
    scores = torch.zeros(len(index), classes)
    return scores.scatter_add_(1, labels[index], (similarity / temperature).exp())


def weighted_mean(similarity: Tensor, index: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """(N, …) mean of the neighbours' targets (M, …), with the weights of the vote."""
    weight = (similarity / temperature).softmax(1)
    step = max(1, TARGETS // max(1, index.shape[1] * targets[0].numel()))
    parts = zip(weight.split(step), index.split(step), strict=True)
    return torch.cat([torch.einsum("nk,nk...->n...", w, targets[i].float()) for w, i in parts])


def z_score(train: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Features (·, D) standardised by the mean and standard deviation of the training features."""
    mean, std = train.mean(0), train.std(0, correction=0)
    std = torch.where(std > 1e-8, std, 1.0)  # a constant feature carries nothing; dividing by zero would carry NaN
    return tuple((x - mean) / std for x in (train, *others))
