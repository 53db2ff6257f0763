"""What a task asks of scores: targets, loss, answers and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ecotone.data.masks import IGNORED
from ecotone.errors import DataError
from ecotone.metrics import METRICS, Answers

Task = Literal["classification", "multilabel", "regression", "segmentation"]
TASKS: tuple[Task, ...] = get_args(Task)
# The main metric first: choices on val are made by it. Those of ``multilabel`` that need decisions come last.
MEASURED: dict[Task, tuple[str, ...]] = {
    "classification": ("accuracy", "macro_f1"),
    "multilabel": ("micro_map", "macro_map", "micro_f1", "macro_f1"),
    "regression": ("rmse", "mae", "r2"),
    "segmentation": ("miou", "pixel_accuracy"),
}


def targets(task: Task, labels: Any, classes: int, scaling: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Targets of labels as datasets give them.

    They are (N, K) probabilities of classes or standardised values, and for ``segmentation`` (N, H, W) class indices.

    Args:
        task: What the labels mean.
        labels: ``batch.targets["label"]``: (N,) class indices, (N, K) zeros and ones, (N,) values, or
            (N, H, W) class indices with 255 where there is no label.
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
    if task == "segmentation":
        return labels.long()
    return ((labels.double() - scaling[0]) / scaling[1]).float().view(-1, 1)


def loss(task: Task, scores: Tensor, wanted: Tensor, smoothing: float = 0.0, weights: Tensor | None = None) -> Tensor:
    """Mean loss of scores (N, K) against targets (N, K): cross-entropy, binary cross-entropy or squared error.

    For ``segmentation`` scores are (N, K, H, W), targets (N, H, W), and the mean is over the pixels with a label.

    Args:
        task: Which of them.
        scores: As a head gives them.
        wanted: As ``targets`` gives them, or a mixture of these.
        smoothing: Share of the target that is spread over all classes, or both answers (Szegedy et al., CVPR 2016).
        weights: (K,) of the classes, for ``segmentation``; the mean over the pixels is weighted by them.
    """
    if task == "classification":
        return F.cross_entropy(scores, wanted, label_smoothing=smoothing)
    if task == "multilabel":
        return F.binary_cross_entropy_with_logits(scores, wanted * (1 - smoothing) + smoothing / 2)
    if task == "segmentation":
        each = {"weight": weights, "label_smoothing": smoothing, "ignore_index": IGNORED, "reduction": "sum"}
        known = wanted[wanted != IGNORED]
        whole = torch.ones_like(known).sum() if weights is None else weights[known].sum()
        return F.cross_entropy(scores, wanted, **each) / whole.clamp_min(1e-9)  # without a label 0, rather than NaN
    return F.mse_loss(scores, wanted)


def answers(task: Task, scores: Tensor, scaling: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Scores (N, K, ...) as probabilities of classes, as probabilities of each label, or as values in their unit."""
    if task in ("classification", "segmentation"):
        return scores.float().softmax(1)
    if task == "multilabel":
        return scores.float().sigmoid()
    return scores.float() * scaling[1] + scaling[0]


def judge(task: Task, given: Tensor, labels: Tensor, thresholds: Sequence[float] | None = None) -> Answers:
    """What ``answers`` gave (N, K), beside the labels as datasets give them; thresholds are for ``multilabel``.

    For ``segmentation`` what was given is the ``confusion``, which says it all.
    """
    if task == "segmentation":
        return Answers(given)
    if task == "classification":
        return Answers(labels, given.argmax(1))
    if task == "multilabel":
        return Answers(labels, None if thresholds is None else given >= torch.tensor(thresholds), given)
    return Answers(labels, given[:, 0])


def confusion(scores: Tensor, labels: Tensor) -> Tensor:
    """(N, K, K) pixels of each true class (row) by the class of the highest score, where there is a label.

    Args:
        scores: (N, K, H, W).
        labels: (N, H, W) class indices, 255 for none.
    """
    n, classes = scores.shape[:2]
    known = labels != IGNORED
    image = torch.arange(n, device=labels.device)[:, None, None].expand_as(labels)
    cells = (image * classes + labels.long()) * classes + scores.argmax(1)
    return torch.bincount(cells[known], minlength=n * classes * classes).view(n, classes, classes)


def figures(task: Task, judged: Answers) -> dict[str, float]:
    """Every metric of the task over the whole set; decisions on several labels are judged where there are any."""
    return {name: METRICS[name].value(judged) for name in measured(task, judged)}


def measured(task: Task, judged: Answers) -> tuple[str, ...]:
    """Names of the metrics that such answers have."""
    return MEASURED[task] if judged.decisions is not None else MEASURED[task][:2]


def gain(task: Task, found: Mapping[str, float]) -> float:
    """The figure that choices on val are made by, turned so that more is better."""
    main = METRICS[MEASURED[task][0]]
    return main.gain(found[main.name])


def check_task(task: str, classes: Sequence[str]) -> Task:
    """The task, if a Predictor knows it and has the classes it needs.

    Raises:
        DataError: Neither.
    """
    if task not in TASKS:
        raise DataError("no head for this task", found=task, expected=" or ".join(TASKS))
    known = cast(Task, task)
    if known != "regression" and len(classes) < (1 if known == "multilabel" else 2):
        raise DataError(f"{task} needs classes", found=", ".join(classes) or "none")
    return known
