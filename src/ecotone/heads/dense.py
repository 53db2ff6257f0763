"""The linear head for pixels: what a map of features says of every pixel by one linear layer."""

from __future__ import annotations

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

    def cells(self, features: Features) -> Tensor:
        """(N, C, h, w) the maps side by side on the grid of the finest, standardised."""
        finest = max((m.shape[-2:] for m in features.maps), key=lambda size: size[0])
        maps = [m if m.shape[-2:] == finest else _enlarge(m, finest) for m in features.maps]
        stacked = torch.cat(maps, 1).float()
        return (stacked - _column(self.mean)) / _column(self.std)

    def forward(self, features: Features) -> Tensor:
        """(N, K, H, W) scores of the pixels."""
        scores = self.linear(self.cells(features))
        stride, (h, w) = min(features.strides), scores.shape[-2:]
        return scores if stride == 1 else _enlarge(scores, (h * stride, w * stride))

    def config(self) -> dict[str, Any]:
        return {"features": self.linear.in_channels, "outputs": self.linear.out_channels}


def _enlarge(maps: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)


def _column(values: Tensor | nn.Module) -> Tensor:
    return cast(Tensor, values).view(-1, 1, 1)
