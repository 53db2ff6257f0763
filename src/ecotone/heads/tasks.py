"""What a task asks of scores: targets, loss, answers, figures and thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score
from torch import Tensor

from ecotone.errors import DataError

Task = Literal["classification", "multilabel", "regression"]
TASKS: tuple[Task, ...] = get_args(Task)
# The figure that choices on val are made by; more is better in each.
SELECTED_BY: dict[Task, str] = {"classification": "accuracy", "multilabel": "micro_map", "regression": "r2"}


def targets(task: Task, labels: Any, classes: int, scaling: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Float targets (N, K) of labels as datasets give them: probabilities of classes, or standardised values.

    Args:
        task: What the labels mean.
        labels: ``batch.targets["label"]``: (N,) class indices, (N, K) zeros and ones, or (N,) values.
        classes: Number K of classes; 1 for regression.
        scaling: Mean and standard deviation of the values in training.

    Raises:
        DataError: The samples have no such labels.
    """
    if not isinstance(labels, Tensor):
        raise DataError(f"the samples have no label for {task}", mend="Give every sample a label in manifest.csv.")
    if task == "classification":
        return F.one_hot(labels.long(), classes).float()
    if task == "multilabel":
        return labels.float()
    return ((labels.double() - scaling[0]) / scaling[1]).float().view(-1, 1)


def loss(task: Task, scores: Tensor, wanted: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean loss of scores (N, K) against targets (N, K): cross-entropy, binary cross-entropy or squared error.

    Args:
        task: Which of them.
        scores: As a head gives them.
        wanted: As ``targets`` gives them, or a mixture of these.
        smoothing: Share of the target that is spread over all classes, or both answers (Szegedy et al., CVPR 2016).
    """
    if task == "classification":
        return F.cross_entropy(scores, wanted, label_smoothing=smoothing)
    if task == "multilabel":
        return F.binary_cross_entropy_with_logits(scores, wanted * (1 - smoothing) + smoothing / 2)
    return F.mse_loss(scores, wanted)


def answers(task: Task, scores: Tensor, scaling: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Scores (N, K, ...) as probabilities of classes, as probabilities of each label, or as values in their unit."""
    if task == "classification":
        return scores.float().softmax(1)
    if task == "multilabel":
        return scores.float().sigmoid()
    return scores.float() * scaling[1] + scaling[0]


def figures(task: Task, given: Tensor, labels: Tensor) -> dict[str, float]:
    """How good answers (N, K) are, over the whole set.

    Args:
        task: ``classification``: accuracy, and F1 as the mean over classes. ``multilabel``: average precision over all
            decisions, and its mean over the labels that occur. ``regression``: R2 and RMSE.
        given: What ``answers`` gave.
        labels: As datasets give them.
    """
    if task == "classification":
        said = given.argmax(1)
        accuracy = (said == labels).double().mean()
        return {"accuracy": float(accuracy), "macro_f1": _macro_f1(said, labels, given.shape[1])}
    if task == "multilabel":
        truth, probability = labels.numpy() > 0.5, given.numpy()
        each = [average_precision_score(t, p) for t, p in zip(truth.T, probability.T, strict=True) if t.any()]
        micro = average_precision_score(truth.ravel(), probability.ravel()) if each else 0.0
        return {"micro_map": float(micro), "macro_map": float(sum(each) / max(1, len(each)))}
    truth, error = labels.double(), given[:, 0].double() - labels.double()
    spread = (truth - truth.mean()).square().mean()
    return {"r2": float(1 - error.square().mean() / spread), "rmse": float(error.square().mean().sqrt())}


def _macro_f1(said: Tensor, labels: Tensor, classes: int) -> float:
    """2 TP / (2 TP + FP + FN), as the mean over the classes that occur or are said."""
    count = torch.bincount(said, minlength=classes) + torch.bincount(labels, minlength=classes)
    hits = torch.bincount(labels[said == labels], minlength=classes)
    return float((2 * hits[count > 0] / count[count > 0]).double().mean())


def best_thresholds(probability: Tensor, labels: Tensor) -> tuple[float, ...]:
    """For each label the probability from which saying yes gives the best F1; 0.5 for a label that never occurs.

    Args:
        probability: (N, K).
        labels: (N, K) zeros and ones.
    """
    return tuple(_threshold(p, t) for p, t in zip(probability.double().T, labels.double().T, strict=True))


def _threshold(probability: Tensor, truth: Tensor) -> float:
    if not truth.any():
        return 0.5
    found, order = probability.sort(descending=True, stable=True)
    hits = truth[order].cumsum(0)
    f1 = 2 * hits / (torch.arange(1, len(truth) + 1) + truth.sum())
    last_of_equals = torch.cat([found[1:] != found[:-1], torch.ones(1, dtype=torch.bool)])  # equals say yes together
    best = int(torch.where(last_of_equals, f1, -1.0).argmax())
    below = float(found[best + 1]) if best + 1 < len(found) else 0.0
    return (float(found[best]) + below) / 2


def check_task(task: str, classes: Sequence[str]) -> Task:
    """The task, if a Predictor knows it and has the classes it needs.

    Raises:
        DataError: Neither.
    """
    if task not in TASKS:
        raise DataError("no head for this task", found=task, expected=" or ".join(TASKS))
    known = cast(Task, task)
    if known != "regression" and len(classes) < (2 if known == "classification" else 1):
        raise DataError(f"{task} needs classes", found=", ".join(classes) or "none")
    return known
