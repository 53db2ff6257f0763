"""Method: a pretraining objective and its decoder around an encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ecotone.data import Dataset
from ecotone.encoders import Encoder
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch


@dataclass(frozen=True)
class Picture:
    """Images side by side, for the eye.

    Attributes:
        panels: Title -> (N, C, H, W) in the model's normalised values; ``truth`` is among them.
        residuals: Titles of panels that are differences around zero.
    """

    panels: dict[str, Tensor]
    residuals: tuple[str, ...] = ()


class Method(nn.Module, ABC):
    """Batch in, named losses out. Everything a method must remember is in its state_dict, so resume is free.

    Attributes:
        encoder: What remains when pretraining is over.
    """

    kind: str

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    def complete(cls, config: dict[str, Any], dataset: Dataset) -> dict[str, Any]:
        """The options with what they leave to the data filled in. Default: as they are."""
        return config

    def fit_state(self, state: Mapping[str, Tensor], bands: Sequence[str]) -> dict[str, Tensor]:
        """The weights of such a method around an encoder for another size or other bands, as far as they fit here.

        Args:
            state: Weights of a method of this kind, the encoder's under ``encoder.``.
            bands: The bands that its encoder took, in order.

        Returns:
            Tensors of this method's names and shapes; the whole encoder, and of the decoder what has the same shape.
        """
        inner = {k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")}
        own = {k: v.shape for k, v in self.state_dict().items() if not k.startswith("encoder.")}
        kept = {k: v for k, v in state.items() if own.get(k) == v.shape}
        return {**kept, **{f"encoder.{k}": v for k, v in self.encoder.fit_state(inner, bands).items()}}

    def prepare(self, stream: Iterable[Batch]) -> None:
        """Fit what the method needs before training, such as a codebook. Default: nothing."""

    @abstractmethod
    def forward(self, batch: Batch, random: SampleRandom) -> dict[str, Tensor]:
        """Named scalar losses of a raw batch, and their weighted sum ``total``.

        Args:
            batch: Raw imagery, augmented; the method checks and normalises it through the encoder's spec.
            random: One random stream per sample, for masks.
        """

    def input_size(self, size: int) -> int:
        """Side in pixels of what the encoder sees of batches with this side."""
        return size

    def after_step(self, progress: float) -> None:
        """Called after each optimiser step with the fraction of training done. Default: nothing."""

    def picture(self, batch: Batch, random: SampleRandom) -> Picture | None:
        """What the method reconstructs of a raw batch; None where it reconstructs nothing."""
        return None

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Keyword arguments that build this objective again around the same encoder."""
