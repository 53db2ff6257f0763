"""A dense predictor over a raster of any size: windows in, blended rows out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ecotone.inference.ahead import ahead, side_by_side
from ecotone.inference.answering import Answering
from ecotone.rasters import Raster
from ecotone.rasters.blending import StripBuffer
from ecotone.rasters.strips import read_strips
from ecotone.rasters.tiling import Tiling


@dataclass(frozen=True)
class AnsweredRows:
    """Rows of the output that are complete.

    Attributes:
        answers: (K, rows, width) float32.
        seen: (rows, width) bool: the others have no answer.
    """

    answers: Tensor
    seen: Tensor


def dense_rows(
    answering: Answering, raster: Raster, tiling: Tiling, batch_size: int, first: int = 0
) -> Iterator[AnsweredRows]:
    """Answers for the pixel rows of a raster from ``first`` on, one row of windows at a time.

    Pixels that were not observed have no answer. Memory is that of one strip of the raster and one of answers.
    """
    columns, buffer = len(tiling.cols), StripBuffer(tiling, answering.outputs, first)
    start = _first_window(tiling, batch_size, first)

    def answered(windows: Windows) -> tuple[Windows, Tensor]:
        return windows, answering(windows.pixels, windows.valid)

    read = read_windows(raster, tiling, batch_size, start)
    if answering.workers or raster.remote:  # on one core, reading ahead only takes the model's cache away
        read = ahead(read)
    for windows, found in side_by_side(answered, read, answering.workers):
        answers = zip(found, windows.valid, strict=True)
        for i, worth in enumerate(windows.worth):
            row, col = divmod(windows.start + i, columns)
            if worth:
                buffer.add(row, col, *next(answers))
            if col == columns - 1:
                yield from (AnsweredRows(*part) for part in buffer.finish(row))


@dataclass(frozen=True)
class Windows:
    """Windows that follow each other in a tiling.

    Attributes:
        start: Number of the first one.
        worth: Which of them have an observed pixel.
        pixels: (m, C, window, window) those, in the stored type.
        valid: For each of them (window, window) bool, or None where everything is observed.
    """

    start: int
    worth: list[bool]
    pixels: NDArray[Any]
    valid: list[NDArray[np.bool_] | None]


def read_windows(raster: Raster, tiling: Tiling, batch_size: int, first: int = 0) -> Iterator[Windows]:
    """The windows of a raster from number ``first`` on, ``batch_size`` at a time."""
    columns, side = len(tiling.cols), tiling.window
    shape = (batch_size, len(raster.bands), side, side)
    batch, number = _Batch(first, np.empty(shape, raster.dtype)), first
    for strip in read_strips(raster, tiling, first // columns):
        for col, left in enumerate(tiling.cols):
            if strip.number * columns + col < number:
                continue
            part = slice(left, left + side)
            batch.put(strip.values[:, :, part], None if strip.valid is None else strip.valid[:, part])
            number += 1
            if len(batch.worth) == batch_size or number == len(tiling):
                yield batch.windows()
                batch = _Batch(number, np.empty(shape, raster.dtype))


class _Batch:
    """Windows copied out of strips, which do not last."""

    def __init__(self, start: int, pixels: NDArray[Any]) -> None:
        self.start, self.pixels = start, pixels
        self.worth: list[bool] = []
        self.valid: list[NDArray[np.bool_] | None] = []

    def put(self, values: NDArray[Any], valid: NDArray[np.bool_] | None) -> None:
        self.worth.append(valid is None or bool(valid.any()))
        if self.worth[-1]:
            self.pixels[len(self.valid)] = values
            self.valid.append(None if valid is None or valid.all() else valid.copy())

    def windows(self) -> Windows:
        return Windows(self.start, self.worth, self.pixels[: len(self.valid)], self.valid)


def _first_window(tiling: Tiling, batch_size: int, first: int) -> int:
    """The start of the batch with the first window that reaches below the pixel rows which are known already.

    Batches are the same windows wherever a run begins: only so does one that goes on give the same numbers to the bit.
    """
    row = next(i for i, top in enumerate(tiling.rows) if top + tiling.window > first)
    return row * len(tiling.cols) // batch_size * batch_size
