"""Convolutions of maps whose channels come last (N, H, W, C), recast as what processors are good at.

Each class is a torch convolution in its parameters, their initialisation and its result; only the order of the axes and
the way to compute it differ. A convolution that never looks at a neighbour is a matrix product.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# Sites of a strip: 8 MiB of 256 channels, which stays in the cache and which the allocator hands out again.
STRIP = 8192


class Pointwise(nn.Conv2d):
    """A 1x1 convolution as a linear layer: (N, H, W, C) to (N, H, W, D)."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, 1)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight.flatten(1), self.bias)


class Enlarge(nn.ConvTranspose2d):
    """A transposed convolution whose kernel is its stride: a linear layer, then a rearrangement of its outputs."""

    def __init__(self, channels: int, out: int, factor: int) -> None:
        super().__init__(channels, out, factor, factor)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(N, H, W, C) to (N, H * factor, W * factor, D)."""
        return self.arrange(self.cells(input))

    def pair(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same in two maps: the even output channels and the odd ones, as ``PairConv`` takes them."""
        even, odd = (self.arrange(self.cells(x, slice(first, None, 2))) for first in (0, 1))
        return even, odd

    def cells(self, x: Tensor, channels: slice = slice(None)) -> Tensor:
        """What each site (..., C) becomes: (..., factor * factor * D), in the order row, column, channel."""
        assert self.bias is not None  # this class has no option without
        weight = self.weight[:, channels].permute(2, 3, 1, 0).flatten(0, 2)
        return F.linear(x, weight, self.bias[channels].repeat(self.kernel_size[0] ** 2))

    def arrange(self, cells: Tensor) -> Tensor:
        """(N, H, W, factor * factor * D) to (N, H * factor, W * factor, D)."""
        factor, (n, height, width, _) = self.kernel_size[0], cells.shape
        cells = cells.view(n, height, width, factor, factor, -1).transpose(2, 3)
        return cells.reshape(n, height * factor, width * factor, -1)


class PairConv(nn.Conv2d):
    """A 3x3 convolution of groups with two input channels and one output channel, as two depthwise convolutions.

    The first channels of all groups come as one map and the second ones as another, so that both are contiguous.
    """

    def __init__(self, groups: int) -> None:
        super().__init__(2 * groups, groups, 3, padding=1, groups=groups)

    def forward(self, input: tuple[Tensor, Tensor]) -> Tensor:  # type: ignore[override]
        """Even and odd channels, (N, H, W, groups) each, to (N, H, W, groups)."""
        even, odd = (x.permute(0, 3, 1, 2) for x in input)
        out = F.conv2d(even, self.weight[:, :1], self.bias, padding=1, groups=self.groups)
        out = out + F.conv2d(odd, self.weight[:, 1:], padding=1, groups=self.groups)
        return out.permute(0, 2, 3, 1)


def split_pairs(x: Tensor) -> tuple[Tensor, Tensor]:
    """(N, H, W, C) to its even and its odd channels, contiguous."""
    even, odd = x.unflatten(-1, (-1, 2)).movedim(-1, 0).contiguous()
    return even, odd


def in_strips(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply what treats each site by itself to a map (..., C), strip by strip, keeping nothing for the backward pass.

    On a CPU a strip's temporaries stay in the cache and in memory that is used again, which saves more time than
    computing them once more costs (``docs/concepts/speed.md``). On other devices the map is treated whole.
    """
    sites = x.flatten(0, -2)
    if x.device.type != "cpu" or len(sites) <= STRIP:
        return function(x)
    strips = sites.split(STRIP)
    parts = [checkpoint(function, strip, use_reentrant=False, preserve_rng_state=False) for strip in strips]
    return torch.cat(parts).unflatten(0, x.shape[:-1])
