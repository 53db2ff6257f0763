"""Encoders, loadable without any pretraining code, and their registry."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Any

from ecotone.encoders.base import Encoder, Features, Pooling, Readout
from ecotone.encoders.convnext import ConvNeXt
from ecotone.encoders.foreign import Foreign, python_encoder
from ecotone.encoders.spectral_vit import SpectralViT
from ecotone.encoders.vit import SIZES, ViT
from ecotone.errors import RecipeError, nearest
from ecotone.inputs import InputSpec

__all__ = [
    "SIZES",
    "ConvNeXt",
    "Encoder",
    "Features",
    "Foreign",
    "Pooling",
    "Readout",
    "SpectralViT",
    "ViT",
    "build_encoder",
    "encoder_class",
    "encoder_kinds",
    "python_encoder",
]


@cache
def encoder_kinds() -> dict[str, type[Encoder]]:
    """Encoders by kind: the package's own, and those of installed packages with an ``ecotone.encoders`` entry point."""
    own = {e.kind: e for e in (ViT, SpectralViT, ConvNeXt)}
    return {**own, **{e.name: e.load() for e in entry_points(group="ecotone.encoders")}}


def encoder_class(kind: str) -> type[Encoder]:
    """The encoder of this kind.

    Raises:
        RecipeError: Unknown kind; the nearest is suggested.
    """
    if kind not in encoder_kinds():
        raise RecipeError(f"unknown encoder {kind!r}", mend=nearest(kind, encoder_kinds()))
    return encoder_kinds()[kind]


def build_encoder(
    kind: str, spec: InputSpec, readout: Readout | None = None, config: dict[str, Any] | None = None
) -> Encoder:
    """A new encoder with random weights.

    Args:
        kind: Name in the registry, such as ``vit``.
        spec: What it accepts.
        readout: How its features become one vector.
        config: Architecture as ``Encoder.config`` gives it.

    Raises:
        RecipeError: Unknown kind, or a configuration that this kind does not take.
    """
    kind_class = encoder_class(kind)
    try:
        return kind_class(spec, readout, **(config or {}))
    except (TypeError, ValueError) as error:
        raise RecipeError(f"the encoder {kind} cannot be built: {error}") from error
