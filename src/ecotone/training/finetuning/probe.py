"""The linear head on a frozen encoder: a predictor by itself, and where fine-tuning starts from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ecotone.data import Dataset
from ecotone.heads import LinearHead, Predictor, linear_path
from ecotone.heads.linear import STRENGTHS
from ecotone.heads.tasks import SELECTED_BY, answers, figures, loss, targets
from ecotone.training.finetuning.scoring import OnProgress, pooled_features


@dataclass(frozen=True)
class Probed:
    """One strength of regularisation that was tried.

    Attributes:
        strength: C, as scikit-learn counts it.
        figures: On val.
    """

    strength: float
    figures: dict[str, float]


def fit_probe(predictor: Predictor, train: Dataset, val: Dataset, on_progress: OnProgress | None) -> list[Probed]:
    """Give a predictor with a new linear head the best one on its encoder as it is; the strength is chosen on val.

    The images are read once, without augmentation. Of equally good strengths the strongest is taken.

    Returns:
        What was tried.
    """
    head, task = predictor.head, predictor.task
    assert isinstance(head, LinearHead)  # the caller's
    x, labels = pooled_features(predictor, train, on_progress, "features of train")
    x_val, labels_val = pooled_features(predictor, val, on_progress, "features of val")
    device = head.linear.weight.device
    head.cpu().standardise_by(x)
    wanted = targets(task, labels, predictor.outputs, predictor.scaling)
    path = linear_path(head.standardised(x), wanted, predictor.outputs, lambda s, t: loss(task, s, t))
    standard = head.standardised(x_val)
    tried = [
        Probed(c, figures(task, answers(task, F.linear(standard, w, b), predictor.scaling), labels_val))
        for c, (w, b) in zip(STRENGTHS, path, strict=True)
    ]
    best = max(range(len(tried)), key=lambda i: tried[i].figures[SELECTED_BY[task]])  # the first of equals
    with torch.no_grad():
        head.linear.weight.copy_(path[best][0])
        head.linear.bias.copy_(path[best][1])
    head.to(device)
    return tried


def scaling_of(labels: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of values (N,), for regression."""
    return float(labels.double().mean()), float(labels.double().std(correction=0).clamp_min(1e-12))
