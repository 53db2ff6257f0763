"""The parts of ConvNeXt V2, dense or on visible cells only, with the parameter names of published weights.

Woo et al., "ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders", CVPR 2023. Maps are (N, H, W, C).
A masked encoder keeps its visible cells packed, (N, M, C): only the 7 x 7 and 3 x 3 convolutions need the grid, in
which hidden cells are zero. That is what a sparse convolution over the visible sites computes.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecotone.nn.cells import Cells

GrnPooling = Literal["sample", "batch"]


class GRN(nn.Module):
    """Global response normalisation: ``y = x * (1 + gamma * g / mean(g)) + beta`` with ``g`` the norm of each channel.

    Args:
        width: Channels.
        eps: Added to the mean of ``g``.
        pooling: ``sample`` takes the norm over the cells of each sample, ``batch`` over those of the whole batch.
    """

    def __init__(self, width: int, eps: float = 1e-6, pooling: GrnPooling = "sample") -> None:
        super().__init__()
        self.eps, self.pooling = eps, pooling
        self.gamma = nn.Parameter(torch.zeros(width))
        self.beta = nn.Parameter(torch.zeros(width))

    def scale(self, x: Tensor) -> Tensor:
        """(N, 1, C), or (1, 1, C) with batch pooling: the factor ``1 + gamma * g / mean(g)`` for cells (N, M, C)."""
        over = (0, 1) if self.pooling == "batch" else 1
        # A root has no gradient at zero, where a dead channel would be.
        norm = x.square().sum(over, keepdim=True).clamp_min(1e-30).sqrt()
        return 1 + self.gamma * (norm / (norm.mean(-1, keepdim=True) + self.eps))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.beta, x, self.scale(x))


class Block(nn.Module):
    """Depthwise 7 x 7 convolution, LayerNorm, a two-layer MLP with GELU and GRN, and a residual connection."""

    def __init__(self, width: int, grn_eps: float = 1e-6, grn_pooling: GrnPooling = "sample") -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.grn = GRN(4 * width, grn_eps, grn_pooling)
        self.pwconv2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, cells: Cells | None = None) -> Tensor:
        """The block on a map (N, H, W, C), or on packed cells (N, M, C)."""
        if cells is None:
            y = conv2d(self.dwconv, x).flatten(1, 2)
            return x + self._contract(self._expand(y)).view(x.shape)
        y = cells.pack(conv2d(self.dwconv, cells.spread(x)))
        return x + cells.only(self._contract(cells.only(self._expand(y))))

    def _expand(self, x: Tensor) -> Tensor:
        return F.gelu(self.pwconv1(self.norm(x)))

    def _contract(self, x: Tensor) -> Tensor:
        if self.grn.pooling == "sample":
            return self.pwconv2(self.grn(x))
        # One factor for all cells: it goes into the weights, which are far smaller than the cells.
        weight = self.pwconv2.weight * self.grn.scale(x).view(-1)
        return F.linear(x, weight, self.pwconv2.bias + self.pwconv2.weight @ self.grn.beta)


class InitialConv(nn.Sequential):
    """A 3 x 3 convolution at full resolution, LayerNorm and GELU."""

    def __init__(self, channels: int, width: int, padding: int = 1) -> None:
        super().__init__(nn.Conv2d(channels, width, 3, padding=padding), nn.LayerNorm(width, eps=1e-6), nn.GELU())

    def forward(self, x: Tensor, cells: Cells | None = None) -> Tensor:
        conv, norm, gelu = cast(tuple[nn.Conv2d, nn.LayerNorm, nn.GELU], tuple(self))
        if cells is None:
            return gelu(norm(conv2d(conv, x)))
        return cells.only(gelu(norm(cells.pack(conv2d(conv, cells.spread(x))))))


class Stem(nn.Sequential):
    """A convolution without overlap, depthwise or full, and LayerNorm."""

    def __init__(self, channels: int, width: int, step: int, *, depthwise: bool, padding: int = 0) -> None:
        conv = nn.Conv2d(channels, width, step, step, padding, groups=channels if depthwise else 1)
        super().__init__(conv, nn.LayerNorm(width, eps=1e-6))
        self.step = step

    def forward(self, x: Tensor, cells: Cells | None = None) -> Tensor:
        conv, norm = cast(tuple[nn.Conv2d, nn.LayerNorm], tuple(self))
        return norm(reduce2d(conv, x, cells))


class Downsample(nn.Sequential):
    """LayerNorm and a 2 x 2 convolution of stride 2; an odd last row or column is left out."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__(nn.LayerNorm(width, eps=1e-6), nn.Conv2d(width, out, 2, 2))
        self.step = 2

    def forward(self, x: Tensor, cells: Cells | None = None) -> Tensor:
        norm, conv = cast(tuple[nn.LayerNorm, nn.Conv2d], tuple(self))
        x = norm(x)
        return reduce2d(conv, x if cells is None else cells.only(x), cells)


def conv2d(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution of a map (N, H, W, C), which keeps that order: several times faster on CPUs than (N, C, H, W)."""
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def reduce2d(conv: nn.Conv2d, x: Tensor, cells: Cells | None = None) -> Tensor:
    """A k x k convolution of stride k as one matrix product.

    Args:
        conv: Its padding applies to maps only: patches have no neighbours here.
        x: (N, H, W, C), or packed cells (N, M, C).
        cells: Where packed cells lie.

    Returns:
        (N, H/k, W/k, C'), or (N, M/k/k, C').
    """
    k, pad, n, channels = conv.kernel_size[0], int(conv.padding[0]), len(x), x.shape[-1]
    if cells is not None:
        x = x.view(-1, cells.side, cells.side, channels)
    elif pad:
        x = F.pad(x, (0, 0, pad, pad, pad, pad))
    rows, cols = x.shape[1] // k, x.shape[2] // k
    tiles = x[:, : rows * k, : cols * k].reshape(-1, rows, k, cols, k, channels).transpose(2, 3)
    if conv.groups > 1:
        y = (tiles * conv.weight[:, 0].permute(1, 2, 0)).sum((3, 4)) + cast(Tensor, conv.bias)
    else:
        weight = conv.weight.permute(0, 2, 3, 1).flatten(1)
        y = F.linear(tiles.reshape(-1, rows, cols, k * k * channels), weight, conv.bias)
    return y if cells is None else y.view(n, -1, conv.out_channels)


def init_weights(module: nn.Module, *, wide: bool = False) -> None:
    """Truncated normal weights and zero biases for convolutions and linear layers; others stay as they are.

    Args:
        module: Layer to initialise; its children are not touched.
        wide: Standard deviation 1 instead of 0.02, cut at 2 in either case.
    """
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=1.0 if wide else 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
