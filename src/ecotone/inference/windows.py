"""Windows of a raster for a model, read a few neighbours at a time: memory does not grow with the scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ecotone.embeddings.footprints import CellGrid
from ecotone.rasters import Raster
from ecotone.samples import Image


@dataclass(frozen=True)
class Chip:
    """One square window of a raster.

    Attributes:
        row: First pixel row.
        col: First pixel column.
        image: Its pixels; those beyond the raster's edge are not valid.
    """

    row: int
    col: int
    image: Image

    @property
    def valid(self) -> Tensor:
        """(H, W) bool."""
        if self.image.valid is None:
            return torch.ones(self.image.pixels.shape[-2:], dtype=torch.bool)
        return self.image.valid.all(0)


def read_chips(raster: Raster, grid: CellGrid, run: int, first: int = 0) -> Iterator[Chip]:
    """The windows of a grid in row order.

    Args:
        raster: Where to read.
        grid: The windows.
        run: Neighbours of one row that are read at once.
        first: Rows of windows that are left out at the top.
    """
    rows, cols = grid.size
    for row in range(first * grid.step, rows * grid.step, grid.step):
        for col in range(0, cols, run):
            count = min(run, cols - col)
            left, width = col * grid.step, (count - 1) * grid.step + grid.cell
            strip = raster.read((row, left, grid.cell, width))
            for i in range(count):
                yield Chip(row, left + i * grid.step, _columns(strip, i * grid.step, grid.cell))


def _columns(strip: Image, start: int, width: int) -> Image:
    part = slice(start, start + width)
    valid = None if strip.valid is None else strip.valid[..., part]
    return replace(strip, pixels=strip.pixels[..., part], valid=valid)
