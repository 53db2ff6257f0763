"""The linear head on a frozen encoder: a predictor by itself, and where fine-tuning starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ecotone.data import Dataset
from ecotone.heads import LinearHead, Predictor
from ecotone.heads.linear_fits import LinearFit, linear_fits
from ecotone.heads.tasks import answers, figures, gain, judge
from ecotone.training.finetuning.scoring import OnProgress, pooled_features


@dataclass(frozen=True)
class Probed:
    """One strength of regularisation that was tried.

    Attributes:
        settings: Its strength, and whether the solver converged.
        figures: On val.
    """

    settings: dict[str, Any]
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
    mean, std = predictor.scaling
    wanted = (labels - mean) / std if task == "regression" else labels
    fits = list(linear_fits(head.standardised(x), wanted, predictor.outputs))
    standard = head.standardised(x_val)
    tried = []
    for fit in fits:
        given = answers(task, fit.scores(standard), predictor.scaling)
        tried.append(Probed(fit.settings, figures(task, judge(task, given, labels_val))))
    best = max(range(len(tried)), key=lambda i: gain(task, tried[i].figures))  # the first of equals
    keep_fit(head.linear, fits[best])
    head.to(device)
    return tried


def keep_fit(layer: nn.Linear | nn.Conv2d, fit: LinearFit) -> None:
    """Give a linear layer the weights of a fit."""
    with torch.no_grad():
        layer.weight.copy_(fit.weight.view_as(layer.weight))
        cast(Tensor, layer.bias).copy_(fit.bias)


def scaling_of(labels: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of values (N,), for regression."""
    return float(labels.double().mean()), float(labels.double().std(correction=0).clamp_min(1e-12))
