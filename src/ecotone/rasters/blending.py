"""StripBuffer: overlapping windows added up to finished rows; memory does not grow with the height of the raster."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecotone.rasters.tiling import Tiling

ROWS = 16  # rows that are finished together: they stay in the cache until they are written


class StripBuffer:
    """Adds up the values of windows by their weights and gives back the rows that no later window touches.

    Args:
        tiling: The windows.
        channels: Channels K of the values.
        first: Pixel rows before this one are known already; windows that reach into them are cut off there.
    """

    def __init__(self, tiling: Tiling, channels: int, first: int = 0) -> None:
        self.tiling, self.top = tiling, first
        width = max(tiling.shape[1], tiling.window)
        self._sums = torch.zeros(channels, tiling.window, width)
        self._weights = torch.zeros(tiling.window, width)
        self._rows = [torch.from_numpy(w) for w in tiling.row_weights]
        self._cols = [torch.from_numpy(w) for w in tiling.col_weights]

    def add(self, row: int, col: int, values: Tensor, valid: NDArray[np.bool_] | None = None) -> None:
        """Add one window.

        Args:
            row: Which row of windows.
            col: Which column of windows.
            values: (K, window, window).
            valid: (window, window) bool, its observed pixels; None for all. The others count nothing, and the window
                counts by the share of its pixels that are observed: what was seen among holes is worth less.
        """
        skip = max(0, self.top - self.tiling.rows[row])
        if skip >= self.tiling.window:
            return
        weight = self._rows[row][:, None] * self._cols[col]
        if valid is not None:
            weight = weight * (torch.from_numpy(valid) * float(valid.mean()))
        start = self.tiling.rows[row] + skip - self.top
        rows = slice(start, start + self.tiling.window - skip)
        cols = slice(self.tiling.cols[col], self.tiling.cols[col] + self.tiling.window)
        self._sums[:, rows, cols].addcmul_(values[:, skip:], weight[skip:])
        self._weights[rows, cols] += weight[skip:]

    def finish(self, row: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The rows that are complete when this row of windows is: they leave the buffer, a few at a time.

        Yields:
            Their weighted means (K, rows, width), and where anything was added (rows, width), bool.
        """
        count, width = max(0, self.tiling.final_rows(row) - self.top), self.tiling.shape[1]
        for start in range(0, count, ROWS):
            part = slice(start, min(start + ROWS, count))
            weights = self._weights[part, :width]
            yield self._sums[:, part, :width] / weights.clamp_min(torch.finfo(torch.float32).tiny), weights > 0
        for held in (self._sums, self._weights):
            kept = held[..., count:, :].clone()
            held[..., : kept.shape[-2], :] = kept
            held[..., kept.shape[-2] :, :] = 0
        self.top += count
