"""Images to patches and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
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


def fit_stem(kernel: Tensor, old: Sequence[str], new: Sequence[str]) -> Tensor:
    """A first convolution's kernel (D, C, k, k) for other bands: by name; a new band gets the mean of the old ones."""
    mean = kernel.mean(1)
    known = {name: kernel[:, i] for i, name in enumerate(old)}
    return torch.stack([known.get(name, mean) for name in new], 1)


def spectral_patchify(images: Tensor, patch: int, group: int) -> Tensor:
    """Cut images into blocks of ``group`` consecutive bands by ``patch`` x ``patch`` pixels.

    Args:
        images: (N, C, H, W); C a multiple of ``group``, H and W of ``patch``.
        patch: Side of a block in pixels.
        group: Bands of a block.

    Returns:
        (N, C/u * H/p * W/p, u*p*p): group of bands slowest, then row, then column; values in band, row, column order.
    """
    n, channels, height, width = images.shape
    cut = patchify(images.reshape(n * channels // group, group, height, width), patch, channels_last=False)
    return cut.reshape(n, -1, cut.shape[-1])


def spectral_unpatchify(patches: Tensor, patch: int, grid: tuple[int, int]) -> Tensor:
    """The inverse of ``spectral_patchify``: (N, T*rows*cols, u*p*p) to (N, T*u, rows*p, cols*p)."""
    rows, cols = grid
    group = patches.shape[-1] // patch**2
    cells = patches.reshape(len(patches), -1, rows, cols, group, patch, patch)
    return cells.permute(0, 1, 4, 2, 5, 3, 6).reshape(len(patches), -1, rows * patch, cols * patch)


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
