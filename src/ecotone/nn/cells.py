"""Visible cells of a map, packed: what a masked convolutional encoder computes on."""

from __future__ import annotations

import torch
from torch import Tensor


class Cells:
    """Where the cells of visible patches lie in a map (N, rows*side, cols*side, C).

    Args:
        keep: (N, K) row-major indices of the visible patches, all different for one image.
        grid: Rows and columns of patches.
        side: Cells along the side of a patch at this stage.
        active: (N, K*side*side, 1) float, 0 for cells of visible patches that are to stay zero; None for none.
    """

    def __init__(self, keep: Tensor, grid: tuple[int, int], side: int, active: Tensor | None = None) -> None:
        self.keep, self.grid, self.side, self.active = keep, grid, side, active
        n = torch.arange(len(keep), device=keep.device)[:, None, None]
        row, col = keep[..., None] // grid[1], keep[..., None] % grid[1]
        line = torch.arange(side, device=keep.device)
        # The map as a table with one patch-wide run of cells in a row, so that whole runs are copied.
        self._runs = (((n * grid[0] + row) * side + line) * grid[1] + col).flatten()

    def coarser(self, step: int) -> Cells:
        """The same patches where a cell stands for ``step`` x ``step`` of these; it is active if any of them is."""
        active, side = self.active, self.side // step
        if active is not None:
            active = active.view(-1, side, step, side, step).amax((2, 4)).view(len(active), -1, 1)
        return Cells(self.keep, self.grid, side, active)

    def pack(self, x: Tensor) -> Tensor:
        """A map (N, rows*side, cols*side, C) to the cells of the visible patches, (N, K*side*side, C)."""
        table = x.reshape(-1, self.side * x.shape[-1])
        return _Pick.apply(table, self._runs).view(len(x), -1, x.shape[-1])

    def spread(self, x: Tensor) -> Tensor:
        """The inverse of ``pack``, with zeros in hidden patches."""
        n, _, channels = x.shape
        rows, cols = self.grid
        table = x.new_zeros(n * rows * self.side * cols, self.side * channels)
        table = table.index_copy(0, self._runs, x.reshape(-1, self.side * channels))
        return table.view(n, rows * self.side, cols * self.side, channels)

    def only(self, x: Tensor) -> Tensor:
        """Packed cells (N, M, C) with zeros where they are not active."""
        return x if self.active is None else x * self.active


class _Pick(torch.autograd.Function):
    """Rows of a table whose indices are all different; the gradient is then a copy, not a sum."""

    @staticmethod
    def forward(ctx, table: Tensor, index: Tensor) -> Tensor:  # noqa: ANN001
        ctx.save_for_backward(index)
        ctx.rows = len(table)
        return table.index_select(0, index)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN001
        (index,) = ctx.saved_tensors
        table = gradient.new_zeros(ctx.rows, gradient.shape[1])
        return table.index_copy_(0, index, gradient), None
