"""Predictor: an encoder and a head that answer a task; what fine-tuning makes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ecotone.encoders import Encoder
from ecotone.errors import CheckpointError
from ecotone.heads.base import Head
from ecotone.heads.tasks import Task, answers, check_task
from ecotone.inputs import InputSpec
from ecotone.samples import Batch


class Predictor(nn.Module):
    """Raw imagery in, answers out. The encoder's InputSpec checks and normalises every batch first.

    Args:
        encoder: Its spec is the predictor's.
        head: From features to scores.
        task: ``classification``, ``multilabel``, ``regression``, or ``segmentation``: a class for every pixel.
        classes: Names, in the order of the scores; empty for regression.
        thresholds: For ``multilabel``: the probability from which each label counts as present; 0.5 by default.
        scaling: For ``regression``: mean and standard deviation of the values, which scores are multiples of.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: Head,
        task: Task,
        classes: Sequence[str] = (),
        *,
        thresholds: Sequence[float] | None = None,
        scaling: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__()
        self.task: Task = check_task(task, classes)
        self.encoder, self.head, self.classes, self.scaling = encoder, head, tuple(classes), scaling
        if self.task == "multilabel":
            self.thresholds = tuple(thresholds if thresholds is not None else [0.5] * len(self.classes))
            if len(self.thresholds) != len(self.classes):
                raise CheckpointError(
                    "each class needs one threshold", found=len(self.thresholds), expected=len(self.classes)
                )
        else:
            self.thresholds = ()

    @property
    def spec(self) -> InputSpec:
        """What it accepts."""
        return self.encoder.spec

    @property
    def dense(self) -> bool:
        """It answers for every pixel, not for whole images."""
        return self.head.dense

    @property
    def outputs(self) -> int:
        """Number K of scores."""
        return max(1, len(self.classes))

    def forward(self, batch: Batch) -> Tensor:
        """Answers to raw imagery: (N, K) probabilities, which sum to one for ``classification``, or (N, 1) values.

        A dense head gives (N, K, H, W): the answers for every pixel.

        Raises:
            InputError: The batch does not meet the spec.
        """
        return answers(self.task, self.scores(batch), self.scaling)

    def scores(self, batch: Batch) -> Tensor:
        """(N, K) scores of raw imagery, before they become probabilities or values."""
        return self.head(self.head.read(self.encoder, self.spec.prepare(batch)))

    def decide(self, given: Tensor) -> Tensor:
        """Decisions on answers (N, K, ...): class indices (N, ...), yes or no by the thresholds, or the values."""
        if self.task in ("classification", "segmentation"):
            return largest(given)
        if self.task == "multilabel":
            limits = torch.tensor(self.thresholds, device=given.device)
            return given >= limits.view(-1, *[1] * (given.ndim - 2))
        return given


def largest(given: Tensor) -> Tensor:
    """(N, ...) index of the first largest of K values (N, K, ...), as 8 bits where they hold it.

    As argmax, and several times faster over images, whose channels lie far apart in memory.
    """
    best = given[:, 0]
    index = torch.zeros(best.shape, dtype=torch.uint8 if given.shape[1] <= 256 else torch.int64, device=given.device)
    for k, value in enumerate(given.unbind(1)[1:], 1):
        larger = (value > best).view(torch.uint8).to(index.dtype)
        index = torch.maximum(index, larger * k)
        best = torch.maximum(best, value)
    return index
