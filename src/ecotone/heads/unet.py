"""The decoder of MP-MAE's U-Net: a ConvNeXt's maps to one score per class and pixel, with its parameter names."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ecotone.errors import InputError
from ecotone.nn.convnext import InitialConv, conv2d


class ConvNeXtUNet(nn.Module):
    """Upsample, convolve, and put the next finer map beside it, down to full resolution.

    The first block is skipped to from before it, not from after, as in the authors' model.

    Args:
        dims: Channels of the encoder's four stages; its stem and full-resolution convolution have as many as the
            first.
        patch: Patch of the encoder.
        classes: Scores per pixel.
    """

    def __init__(self, dims: Sequence[int], patch: int, classes: int) -> None:
        super().__init__()
        first, second, third, last = dims
        factors = (2, 2, 2, patch // 8)
        into = (last, last // 2 + third, third // 2 + second, second // 2 + first)
        out = (last // 2, third // 2, second // 2, first)
        self.upsample_layers = nn.ModuleList(Up(a, b, k) for a, b, k in zip(into, out, factors, strict=True))
        self.initial_conv_upsample = InitialConv(2 * first, first // 2)
        self.head = nn.Conv2d(first // 2, classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(N, classes, H, W) from the maps of ``ConvNeXt.forward_pyramid``.

        Raises:
            InputError: The encoder has no full-resolution convolution, or these are other maps.
        """
        if len(maps) != 6:
            raise InputError(
                "the U-Net needs six maps: the full-resolution convolution, the stem and four stages",
                found=f"{len(maps)} maps",
                mend="Use forward_pyramid of an encoder with stem: initial-conv.",
            )
        full, stem, _, *deeper = (m.permute(0, 2, 3, 1) for m in maps)
        x = deeper.pop()
        for up, skip in zip(self.upsample_layers, (deeper[1], deeper[0], stem, full), strict=True):
            x = torch.cat([up(x), skip], -1)
        return conv2d(self.head, self.initial_conv_upsample(x)).permute(0, 3, 1, 2)


class Up(nn.Module):
    """Each cell repeated ``factor`` times both ways, a 3 x 3 convolution, LayerNorm and GELU, on (N, H, W, C)."""

    def __init__(self, width: int, out: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv2d(width, out, 3, padding=1)
        self.norm = nn.LayerNorm(out, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = x.repeat_interleave(self.factor, 1).repeat_interleave(self.factor, 2)
        return nn.functional.gelu(self.norm(conv2d(self.conv, x)))
