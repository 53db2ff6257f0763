"""Strips: full-width rows of a raster, each read from the file once, for windows that overlap from row to row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecotone.rasters.raster import Raster
from ecotone.rasters.tiling import Tiling

TALLEST_BLOCK = 1024  # rows of a file's blocks that are read together; a taller block lies in GDAL's cache meanwhile


@dataclass(frozen=True)
class Strip:
    """The rows of the raster under one row of windows, across its whole width.

    Attributes:
        number: Which row of windows, from 0.
        values: (C, window, width) in the stored type, as wide as the windows reach; no-data beyond the raster.
        valid: (window, width) bool; None where everything is observed.

    Both are views that the next strip overwrites.
    """

    number: int
    values: NDArray[np.generic]
    valid: NDArray[np.bool_] | None


def read_strips(raster: Raster, tiling: Tiling, first: int = 0) -> Iterator[Strip]:
    """The strips of a tiling from one row of windows on, top to bottom.

    Rows are read in whole blocks of the file, so that no block is decoded twice however the windows overlap, and kept
    for as long as a window needs them.
    """
    rows = _Rows(raster, tiling, first)
    for number in range(first, len(tiling.rows)):
        values, valid = rows.between(tiling.rows[number], tiling.rows[number] + tiling.window)
        below = tiling.window - len(valid)
        if below:
            values = np.pad(values, ((0, 0), (0, below), (0, 0)), constant_values=raster.blank)
            valid = np.pad(valid, ((0, below), (0, 0)))
        yield Strip(number, values, None if valid.all() else valid)


class _Rows:
    """The last rows read from a raster: ``held`` of them from ``top`` on, at the start of one buffer."""

    def __init__(self, raster: Raster, tiling: Tiling, first: int) -> None:
        self.raster, self.top, self.held = raster, tiling.rows[first], 0
        self.block = raster.block_rows if raster.block_rows <= TALLEST_BLOCK else 1
        height, self.width = min(tiling.window + self.block, raster.shape[0]), raster.shape[1]
        reach = max(self.width, tiling.cols[-1] + tiling.window)
        self._values = np.empty((len(raster.bands), height, reach), raster.dtype)
        self._values[:, :, self.width :] = raster.blank
        self._valid = np.zeros((height, reach), bool)

    def between(self, start: int, stop: int) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Rows from ``start``, not above those of the call before, to ``stop`` or the end of the raster: a view."""
        stop = min(stop, self.raster.shape[0])
        if stop > self.top + self.held:
            self._forget(start)
            self._read(min(-(-stop // self.block) * self.block, self.raster.shape[0]))
        inside = slice(start - self.top, stop - self.top)
        return self._values[:, inside], self._valid[inside]

    def _forget(self, start: int) -> None:
        gone = min(start - self.top, self.held)
        kept = slice(gone, self.held)
        self.held -= gone
        self._values[:, : self.held] = self._values[:, kept]
        self._valid[: self.held] = self._valid[kept]
        self.top = start

    def _read(self, stop: int) -> None:
        new = slice(self.held, stop - self.top)
        values = self._values[:, new, : self.width]
        self._valid[new, : self.width] = self.raster.read_rows(self.top + self.held, stop, values)
        self.held = new.stop
