"""Layer-wise learning rates: what lies deeper below the head learns more slowly (Clark et al. 2020; BEiT, MAE)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from torch import nn

from ecotone.encoders import Encoder
from ecotone.training.optimiser import decay_groups

BLOCK = re.compile(r"^(?:blocks|stages\.(?P<stage>\d+))\.(?P<block>\d+)\.")
BETWEEN = re.compile(r"^downsample_layers\.(?P<stage>\d+)\.")


class Depths:
    """How deep a parameter of an encoder lies: 0 for stems and positions, 1 to n for its blocks, n + 1 above them.

    Blocks are known by their names, ``blocks.<i>`` or ``stages.<i>.<j>``; what reduces the map before a stage belongs
    to the stage's first block.

    Args:
        names: Names of the encoder's parameters.
    """

    def __init__(self, names: Iterable[str]) -> None:
        found = {key for key in map(_block, names) if key is not None}
        self._order = {key: i for i, key in enumerate(sorted(found), 1)}

    @property
    def top(self) -> int:
        """Depth of the final norm and the head."""
        return len(self._order) + 1

    def of(self, name: str) -> int:
        """The depth of the parameter of this name."""
        block, between = _block(name), BETWEEN.match(name)
        if between:
            block = (int(between["stage"]) + 1, 0)
        if block is not None:
            return self._order[block]
        return self.top if name.startswith("norm.") else 0


def _block(name: str) -> tuple[int, int] | None:
    found = BLOCK.match(name)
    return (int(found["stage"] or 0), int(found["block"])) if found else None


def blocks_of(encoder: Encoder) -> list[nn.Module]:
    """The residual blocks, from shallow to deep."""
    found = {
        key: f"{m[0]}".rstrip(".")
        for n, _ in encoder.named_parameters()
        if (m := BLOCK.match(n)) and (key := _block(n))
    }
    return [encoder.get_submodule(found[key]) for key in sorted(found)]


def layer_groups(
    module: nn.Module, encoder: Encoder, *, peak: float, layer_decay: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Parameter groups for AdamW: by depth and by whether they decay, each with its own peak learning rate.

    Args:
        module: Whose parameters these are; what is not of the encoder counts as its head.
        encoder: The encoder in it.
        peak: Learning rate of the head.
        layer_decay: Its factor from each depth to the one below.
        weight_decay: For matrices.
    """
    names = {id(p): name for name, p in encoder.named_parameters()}
    depths = Depths(names.values())
    groups: list[dict[str, Any]] = []
    for group in decay_groups(module, weight_decay):
        by_depth = defaultdict(list)
        for parameter in group["params"]:
            name = names.get(id(parameter))
            by_depth[depths.top if name is None else depths.of(name)].append(parameter)
        for depth, members in sorted(by_depth.items()):
            lr = peak * layer_decay ** (depths.top - depth)
            groups.append({"params": members, "weight_decay": group["weight_decay"], "lr": lr})
    return groups
