"""What every converter of official weights returns, and how it reads an architecture from shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isqrt
from typing import Any

from torch import Tensor

from ecotone.errors import CheckpointError


@dataclass(frozen=True)
class Converted:
    """Official weights under our names.

    Attributes:
        encoder: Tensors of our encoder, by its own names.
        decoder: Tensors of our method besides the encoder; empty where the file has no pretraining decoder.
        encoder_options: What the shapes tell of the encoder's architecture.
        method_options: What the shapes tell of the decoder's.
        image_size: Side in pixels of the images in training, where the shapes tell.
        ignored: Official name -> why it is left out.
        unexpected: Official names that the converter does not know.
    """

    encoder: dict[str, Tensor]
    decoder: dict[str, Tensor] = field(default_factory=dict)
    encoder_options: dict[str, Any] = field(default_factory=dict)
    method_options: dict[str, Any] = field(default_factory=dict)
    image_size: int | None = None
    ignored: dict[str, str] = field(default_factory=dict)
    unexpected: tuple[str, ...] = ()


def named(state: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The tensors with these names, or with names that begin with those of them that end with a dot."""
    exact, prefixes = set(names), tuple(n for n in names if n.endswith("."))
    return {k: v for k, v in state.items() if k in exact or k.startswith(prefixes)}


def reasons(state: Mapping[str, Tensor], why: Mapping[tuple[str, ...], str]) -> dict[str, str]:
    """Name -> reason, for the names of a state that ``named`` would pick."""
    return {name: reason for names, reason in why.items() for name in named(state, names)}


def numbered(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many different parts the names number, as in ``blocks.11.`` after the prefix ``blocks.``."""
    return len({name[len(prefix) :].partition(".")[0] for name in state if name.startswith(prefix)})


def shape(state: Mapping[str, Tensor], name: str, dims: int) -> tuple[int, ...]:
    """The shape of a tensor that the architecture is read from.

    Raises:
        CheckpointError: It is missing, or has another number of dimensions.
    """
    found = tuple(state[name].shape) if name in state else None
    if found is None or len(found) != dims:
        raise CheckpointError(
            f"these are not the weights of this method: the tensor {name} should tell the architecture",
            found=f"{len(state)} tensors, not this one" if found is None else f"shape {found}",
            expected=f"{dims} dimensions",
            mend="Check --method.",
        )
    return found


def square(table: Mapping[str, Tensor], name: str) -> int:
    """The side of the square grid of a table of positions (1, side * side, D).

    Raises:
        CheckpointError: It is missing, or its number of positions is no square.
    """
    _, positions, _ = shape(table, name, 3)
    if isqrt(positions) ** 2 != positions:
        raise CheckpointError(f"{name} is no table of a square grid", found=f"{positions} positions")
    return isqrt(positions)
