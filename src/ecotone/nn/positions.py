"""Positions: sine-cosine, plain and scaled by the ground sample distance; and learned tables of any size."""

from __future__ import annotations

from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from ecotone.errors import CheckpointError, InputError


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
    # A graph that is being exported cannot stop on a value.
    if scale is not None and not torch.compiler.is_compiling() and not bool((scale > 0).all()):
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


def resize_grid(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """A learned table of a square grid (1, side*side, D), bicubic to another grid: (1, rows*cols, D).

    Raises:
        CheckpointError: The table is not that of a square grid.
    """
    side = isqrt(table.shape[1])
    if side * side != table.shape[1]:
        raise CheckpointError(
            "a table of positions does not belong to a square grid",
            found=f"{table.shape[1]} positions",
            expected="a square number",
        )
    if grid == (side, side):
        return table
    cells = table.float().transpose(1, 2).unflatten(2, (side, side))
    return F.interpolate(cells, grid, mode="bicubic").flatten(2).transpose(1, 2).to(table.dtype)


def resize_line(table: Tensor, length: int) -> Tensor:
    """A learned table along one axis (1, T, D), linear to another length: (1, length, D)."""
    if table.shape[1] == length:
        return table
    return F.interpolate(table.float().transpose(1, 2), length, mode="linear").transpose(1, 2).to(table.dtype)


def separable_positions(line: Tensor, cells: Tensor, keep: Tensor | None = None) -> Tensor:
    """Sums of a position along the spectrum and one on the grid, the former slowest.

    Args:
        line: (1, T, D).
        cells: (1, L, D), the grid in raster order.
        keep: (N, K) indices into the T*L sums; all when not given.

    Returns:
        (1, T*L, D), or (N, K, D) with ``keep``.
    """
    if keep is None:
        return (line[:, :, None] + cells[:, None]).flatten(1, 2)
    return F.embedding(keep // cells.shape[1], line[0]) + F.embedding(keep % cells.shape[1], cells[0])
