"""The objective of fine-tuning: the task's loss of a predictor on augmented and mixed images."""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor, nn

from ecotone.encoders import Encoder
from ecotone.heads import Predictor
from ecotone.heads.tasks import loss, targets
from ecotone.methods import Method
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch
from ecotone.training.finetuning.droppath import DropPath
from ecotone.training.finetuning.mixing import mix
from ecotone.training.finetuning.scoring import pixel_labels
from ecotone.training.finetuning.settings import FineTune


class TaskLoss(Method):
    """A predictor that learns its task.

    Args:
        predictor: What is trained.
        settings: Regularisation: drop path, mixup, cutmix, smoothing.
        weights: (K,) of the classes in the loss of ``segmentation``.
    """

    kind = "finetuning"

    def __init__(self, predictor: Predictor, settings: FineTune, weights: Tensor | None = None) -> None:
        nn.Module.__init__(self)  # the encoder is the predictor's: registered once
        self.predictor, self.settings = predictor, settings
        self.weights = None if weights is None else weights.to(next(predictor.parameters()).device)
        self.drop_path = DropPath(predictor.encoder, settings.drop_path)

    @property
    def encoder(self) -> Encoder:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.predictor.encoder

    def train(self, mode: bool = True) -> Self:
        """The encoder stays in evaluation mode: it is trained as it will be used, positions and all."""
        super().train(mode)
        self.predictor.encoder.eval()
        return self

    def forward(self, batch: Batch, random: SampleRandom) -> dict[str, Tensor]:
        task, s = self.predictor.task, self.settings
        labels = pixel_labels(batch) if task == "segmentation" else batch.targets.get("label")
        wanted = targets(task, labels, self.predictor.outputs, self.predictor.scaling)
        batch, wanted = mix(batch, wanted, random, s.mixup, s.cutmix)
        with self.drop_path.active(random):
            scores = self.predictor.scores(batch)
        return {"total": loss(task, scores.float(), wanted, s.smoothing, self.weights)}

    def config(self) -> dict[str, Any]:
        return self.settings.model_dump(mode="json")
