"""Sine-cosine positions, plain and scaled by the ground sample distance."""

from __future__ import annotations

import torch
from torch import Tensor

from ecotone.errors import InputError


def sincos_positions(width: int, grid: tuple[int, int], scale: Tensor | None = None) -> Tensor:
    """Two-dimensional sine-cosine table of MAE; with a scale, the GSD positional encoding of Scale-MAE (eq. 2).

    For the patch in row r and column c, with q = width / 4 and omega_i = 10000^(-i / q)::

        [sin(c s omega), cos(c s omega), sin(r s omega), cos(r s omega)]        s = gsd / reference gsd

    Args:
        width: Length D of a position, a multiple of 4.
        grid: Rows and columns of patches; they need not be equal.
        scale: (N,) one factor per image; None is a factor of 1 for all.

    Returns:
        (N, rows*cols, D) float32 in raster order; N is 1 without a scale.

    Raises:
        InputError: A scale is not above zero.
    """
    if width % 4:
        raise ValueError(f"positions need a width that is a multiple of 4, not {width}")
    if scale is not None and not bool((scale > 0).all()):
        raise InputError(
            "the GSD positional encoding needs a GSD above zero for every image", found=scale.tolist(), expected="> 0"
        )
    device = scale.device if scale is not None else None
    factor = torch.ones(1, device=device) if scale is None else scale
    rows, cols = (torch.arange(n, dtype=torch.float32, device=device) for n in grid)
    x, y = (_axis(factor[:, None] * along, width // 4) for along in (cols, rows))
    n, half = len(factor), width // 2
    x = x[:, None].expand(n, grid[0], grid[1], half)
    y = y[:, :, None].expand(n, grid[0], grid[1], half)
    return torch.cat([x, y], 3).reshape(n, -1, width)


def _axis(position: Tensor, quarter: int) -> Tensor:
    """(N, L) positions to (N, L, 2*quarter): all sines, then all cosines."""
    omega = 1 / 10000 ** (torch.arange(quarter, dtype=torch.float32, device=position.device) / quarter)
    angle = position[..., None] * omega
    return torch.cat([angle.sin(), angle.cos()], -1)
