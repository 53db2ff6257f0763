"""Encoder: pixels in, features out. It knows nothing of pretraining."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from ecotone.errors import InputError
from ecotone.inputs import InputSpec
from ecotone.samples import Batch, ImageBatch


@dataclass(frozen=True)
class Features:
    """What every encoder returns.

    Attributes:
        maps: (N, C, h, w) each, from shallow to deep: all that a dense head may use.
        strides: Input pixels per map cell, one for each map.
        pooled: (N, D), by the encoder's readout.
        tokens: (N, groups*h*w, D) of the deepest layer, spectral or temporal group slowest; None without a grid. With
            ``keep`` only the visible tokens, in the order of ``keep``, and then ``maps`` is empty.
        groups: Spectral or temporal groups in ``tokens``.
        class_tokens: (N, D) each, one for each map, for encoders that have a class token.
    """

    maps: list[Tensor]
    strides: list[int]
    pooled: Tensor
    tokens: Tensor | None = None
    groups: int = 1
    class_tokens: list[Tensor] = field(default_factory=list)


Pooling = Literal["class", "mean", "mean-std"]


class Readout(BaseModel):
    """How features become one vector: stored with the encoder, part of every evaluation contract.

    Attributes:
        pooling: ``class`` token, ``mean`` over the map, or mean and standard deviation over the map side by side.
        layers: Layers whose vectors are concatenated; -1 is the last, after the final norm.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pooling: Pooling = "mean"
    layers: tuple[int, ...] = Field(default=(-1,), min_length=1)

    def pool(self, features: Features) -> Tensor:
        """(N, D) from the maps (and class tokens) of the readout's layers."""
        if self.pooling == "class":
            return torch.cat(features.class_tokens, 1)
        flat = [m.float().flatten(2) for m in features.maps]
        means = [f.mean(2) for f in flat]
        if self.pooling == "mean":
            return torch.cat(means, 1)
        return torch.cat([*means, *(f.std(2, correction=0) for f in flat)], 1)


class Encoder(nn.Module, ABC):
    """The sealed base: calling an encoder always checks and normalises first; a subclass cannot forget.

    Args:
        spec: What the encoder accepts.
        readout: How its features become one vector.
    """

    kind: str  # the name in the registry and in ecotone.yaml
    sizes: ClassVar[dict[str, dict[str, Any]]] = {}  # named sizes and the configuration that each stands for

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for sealed in ("forward", "__call__"):
            if sealed in cls.__dict__:
                raise TypeError(f"{cls.__name__} may not override {sealed}: implement forward_intermediates")

    def __init__(self, spec: InputSpec, readout: Readout | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.readout = readout or Readout()

    def forward(self, batch: Batch) -> Features:
        """Check and normalise raw imagery, then encode it: ``pooled`` follows the readout.

        Raises:
            InputError: The batch does not meet the spec.
        """
        return self.forward_intermediates(self.spec.prepare(batch), self.readout.layers)

    @abstractmethod
    def forward_intermediates(self, prepared: Batch, layers: Sequence[int]) -> Features:
        """Encode a prepared batch and return the maps of these layers; ``pooled`` by the readout's pooling of them."""

    @abstractmethod
    def forward_features(self, prepared: Batch, keep: Tensor | None = None) -> Features:
        """Encode a prepared batch to its last layer, or only the tokens whose indices (N, K) are in ``keep``."""

    @classmethod
    def size_multiple(cls, config: Mapping[str, Any]) -> int:
        """Pixels of which the sides of an image must be a multiple, for an encoder of this configuration."""
        return 1

    @classmethod
    def needs_gsd(cls, config: Mapping[str, Any]) -> bool:
        """Whether an encoder of this configuration needs the GSD of every image."""
        return False

    def fit_state(self, state: Mapping[str, Tensor], bands: Sequence[str]) -> dict[str, Tensor]:
        """The weights of such an encoder for another image size or other bands, made to fit this one.

        Args:
            state: Weights of an encoder of this architecture.
            bands: The bands that it took, in order.
        """
        return dict(state)

    def adapt(self, *, size: int | None = None, spec: InputSpec | None = None) -> Self:
        """This encoder for another image size or other bands; positions and stems are carried over.

        Args:
            size: Side in pixels of the images to come.
            spec: What the new encoder accepts. Bands that both specs name keep their weights; another band starts
                from the mean of the old ones.
        """
        config = self.config()
        if size is not None and "image_size" in config:
            config["image_size"] = size
        twin = type(self)(spec or self.spec, self.readout, **config)
        twin.load_state_dict(twin.fit_state(self.state_dict(), self.spec.optical.bands), strict=True)
        return twin.train(self.training)

    @property
    @abstractmethod
    def width(self) -> int:
        """Channels D of the deepest map, for each of its groups."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Keyword arguments that build this architecture again, without spec and readout."""


def single_image(spec: InputSpec, prepared: Batch, patch: int) -> ImageBatch:
    """The image of the spec's first role in a prepared batch.

    Raises:
        InputError: It has several dates, or does not divide into patches of this side.
    """
    image = prepared[next(iter(spec.roles))]
    if image.pixels.shape[1] != 1:
        raise InputError("this encoder takes images of one date", found=f"{image.pixels.shape[1]} dates")
    if any(n % patch or n < patch for n in image.size):
        raise InputError(
            "the image does not divide into patches",
            found=f"{image.size[0]} x {image.size[1]} pixels",
            expected=f"multiples of {patch}",
        )
    return image


def layer_indices(layers: Sequence[int], depth: int) -> list[int]:
    """These layers counted from 0, where -1 is the last of ``depth``.

    Raises:
        InputError: One of them is not there.
    """
    if any(not -depth <= i < depth for i in layers):
        raise InputError("no such layer", found=list(layers), expected=f"-{depth} to {depth - 1}")
    return [i % depth for i in layers]
