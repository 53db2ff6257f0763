"""The linear head for pixels: what a map of features says of every pixel by one linear layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecotone.encoders import Features
from ecotone.heads.base import Head


class PixelHead(Head):
    """One linear layer on the cells of the encoder's maps, standardised by fixed statistics, enlarged bilinearly.

    Maps of several layers are put side by side, on the grid of the finest. The layer is applied before the enlargement:
    both are linear, so the result is the same and the work a fraction.

    Args:
        features: Channels C of all maps together.
        outputs: Scores K.
    """

    kind = "pixel"
    dense = True

    def __init__(self, *, features: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.linear = nn.Conv2d(features, outputs, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(cast(Tensor, self.linear.bias))

    def standardise_by(self, cells: Tensor) -> None:
        """Take the statistics of training cells (N, C); a feature that hardly varies is only centred."""
        std = cells.std(0, correction=0)
        self.mean = cells.mean(0)
        self.std = torch.where(std > 1e-8, std, 1.0)

    def forward(self, features: Features) -> Tensor:
        """(N, K, H, W) scores of the pixels."""
        # The standardisation is folded into the layer: one pass over the maps instead of three.
        weight = self.linear.weight / _column(self.std)
        bias = cast(Tensor, self.linear.bias) - (weight * _column(self.mean)).sum((1, 2, 3))
        scores = F.conv2d(side_by_side(features.maps).float(), weight, bias)
        stride, (h, w) = min(features.strides), scores.shape[-2:]
        return scores if stride == 1 else _enlarge(scores, (h * stride, w * stride))

    def config(self) -> dict[str, Any]:
        return {"features": self.linear.in_channels, "outputs": self.linear.out_channels}


def side_by_side(maps: Sequence[Tensor]) -> Tensor:
    """(N, C, h, w) maps of several layers put together on the grid of the finest."""
    finest = max((m.shape[-2:] for m in maps), key=lambda size: size[0])
    same = [m if m.shape[-2:] == finest else _enlarge(m, finest) for m in maps]
    return same[0] if len(same) == 1 else torch.cat(same, 1)


def _enlarge(maps: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)


def _column(values: Tensor | nn.Module) -> Tensor:
    return cast(Tensor, values).view(-1, 1, 1)
