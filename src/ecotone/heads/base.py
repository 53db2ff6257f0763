"""Head: from the features of an encoder to one score per class, label or value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from ecotone.encoders import Encoder, Features
from ecotone.samples import Batch


class Head(nn.Module, ABC):
    """What a Predictor puts on an encoder.

    Attributes:
        kind: The name in the registry and in ``head.yaml``.
        dense: It scores pixels, not images.
    """

    kind: ClassVar[str]
    dense: ClassVar[bool] = False

    def read(self, encoder: Encoder, prepared: Batch) -> Features:
        """The features that this head needs of a prepared batch. Default: the encoder's own readout.

        A dense head asks for other layers, or for a pyramid.
        """
        return encoder.forward_intermediates(prepared, encoder.readout.layers)

    @abstractmethod
    def forward(self, features: Features) -> Tensor:
        """(N, K) scores of images, or (N, K, H, W) of pixels."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Keyword arguments that build this head again."""
