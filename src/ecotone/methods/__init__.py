"""Pretraining methods, one file each, and their registry."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Any

from ecotone.encoders import Encoder
from ecotone.errors import RecipeError, nearest
from ecotone.methods.base import Method, Picture
from ecotone.methods.contrastive_mae import ContrastiveMAE
from ecotone.methods.mae import MAE
from ecotone.methods.mp_mae import MPMAE
from ecotone.methods.scale_mae import ScaleMAE
from ecotone.methods.spectral_gpt import SpectralGPT

__all__ = [
    "MAE",
    "MPMAE",
    "ContrastiveMAE",
    "Method",
    "Picture",
    "ScaleMAE",
    "SpectralGPT",
    "build_method",
    "method_class",
    "method_kinds",
]


@cache
def method_kinds() -> dict[str, type[Method]]:
    """Methods by kind: the package's own, and those of installed packages with an ``ecotone.methods`` entry point."""
    own = {m.kind: m for m in (MAE, ScaleMAE, SpectralGPT, MPMAE, ContrastiveMAE)}
    return {**own, **{e.name: e.load() for e in entry_points(group="ecotone.methods")}}


def method_class(kind: str) -> type[Method]:
    """The method of this kind.

    Raises:
        RecipeError: Unknown kind; the nearest is suggested.
    """
    if kind not in method_kinds():
        raise RecipeError(f"unknown method {kind!r}", mend=nearest(kind, method_kinds()))
    return method_kinds()[kind]


def build_method(kind: str, encoder: Encoder, config: dict[str, Any] | None = None) -> Method:
    """A new objective around an encoder.

    Raises:
        RecipeError: Unknown kind, or a configuration that this kind does not take.
    """
    kind_class = method_class(kind)
    try:
        return kind_class(encoder, **(config or {}))
    except (TypeError, ValueError) as error:
        raise RecipeError(f"the method {kind} cannot be built: {error}") from error
