"""The k-nearest-neighbour classifier: a head without parameters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def knn_scores(
    train: Tensor, labels: Tensor, queries: Tensor, *, classes: int, k: int = 20, temperature: float = 0.07
) -> Tensor:
    """Weighted vote of the k nearest training features by cosine similarity (Wu et al., CVPR 2018).

    Each neighbour votes ``exp(similarity / temperature)`` for its class. Exact; queries go in blocks, so that memory
    is bounded by 64 MiB of similarities.

    Args:
        train: (M, D) features; they are L2-normalised here, and not otherwise changed.
        labels: (M,) int64 class indices.
        queries: (N, D).
        classes: Number of classes.
        k: Neighbours; all of them where M is smaller.
        temperature: Softness of the vote.

    Returns:
        (N, classes) summed votes.
    """
    bank = F.normalize(train.float(), dim=1).T
    block = max(1, 2**24 // max(1, bank.shape[1]))
    scores = torch.zeros(len(queries), classes)
    for start in range(0, len(queries), block):
        part = F.normalize(queries[start : start + block].float(), dim=1)
        similarity, index = (part @ bank).topk(min(k, bank.shape[1]), dim=1)
        votes = (similarity / temperature).exp()
        scores[start : start + block].scatter_add_(1, labels[index], votes)
    return scores


def z_score(train: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Features (·, D) standardised by the mean and standard deviation of the training features."""
    mean, std = train.mean(0), train.std(0, correction=0)
    std = torch.where(std > 1e-8, std, 1.0)  # a constant feature carries nothing; dividing by zero would carry NaN
    return tuple((x - mean) / std for x in (train, *others))
