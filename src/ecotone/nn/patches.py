"""Images to patches and back."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def patchify(images: Tensor, patch: int, *, channels_last: bool = True) -> Tensor:
    """Cut images into patches in raster order.

    Args:
        images: (N, C, H, W); H and W multiples of ``patch``.
        patch: Side of a patch in pixels.
        channels_last: Order the values of a patch as (row, column, channel), as MAE's targets are; else as (channel,
            row, column), as a convolution's weights are.

    Returns:
        (N, H/p * W/p, p*p*C).
    """
    n, c, height, width = images.shape
    rows, cols = height // patch, width // patch
    cells = images.reshape(n, c, rows, patch, cols, patch)
    order = (0, 2, 4, 3, 5, 1) if channels_last else (0, 2, 4, 1, 3, 5)
    return cells.permute(*order).reshape(n, rows * cols, patch * patch * c)


def unpatchify(patches: Tensor, patch: int, grid: tuple[int, int]) -> Tensor:
    """The inverse of ``patchify`` with channels last: (N, rows*cols, p*p*C) to (N, C, rows*p, cols*p)."""
    n, _, values = patches.shape
    rows, cols = grid
    cells = patches.reshape(n, rows, cols, patch, patch, values // patch**2)
    return cells.permute(0, 5, 1, 3, 2, 4).reshape(n, -1, rows * patch, cols * patch)


class PatchEmbed(nn.Module):
    """A linear projection of patches, held as the convolution that published weights have.

    Projecting patches that are already cut lets a masked encoder embed the visible ones only.
    """

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(channels, width, patch, patch)
        nn.init.xavier_uniform_(self.proj.weight.view(width, -1))

    def forward(self, patches: Tensor) -> Tensor:
        """(N, L, C*p*p) in channel, row, column order, to (N, L, D)."""
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)
