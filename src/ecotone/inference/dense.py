"""A dense predictor over rasters of any size: windows in, blended rows out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ecotone.inference.answering import Answering
from ecotone.inference.windows import Windows, read_windows, seen_windows
from ecotone.rasters.blending import StripBuffer
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


def dense_rows(answering: Answering, tiling: Tiling, batch_size: int, first: int = 0) -> Iterator[AnsweredRows]:
    """Answers for the pixel rows from ``first`` on, one row of windows at a time.

    Pixels that were not observed have no answer. Memory is that of one strip of the rasters and one of answers.
    """
    columns, buffer = len(tiling.cols), StripBuffer(tiling, answering.outputs, first)
    start = _first_window(tiling, batch_size, first)
    for windows, found in answered_windows(answering, tiling, batch_size, start):
        answers = zip(found, windows.valid, strict=True)
        for i, worth in enumerate(windows.worth):
            row, col = divmod(windows.start + i, columns)
            if worth:
                buffer.add(row, col, *next(answers))
            if col == columns - 1:
                yield from (AnsweredRows(*part) for part in buffer.finish(row))


def answered_windows(
    answering: Answering, tiling: Tiling, batch_size: int, start: int, least: float = 0.0
) -> Iterator[tuple[Windows, Tensor]]:
    """Windows as ``read_windows`` gives them, and the answers for those that are worth a look."""
    feed = answering.feed
    read = read_windows(feed.rasters, tiling, batch_size, start, least)

    def answered(windows: Windows) -> Tensor:
        return answering(windows.pixels, windows.seen)

    return seen_windows(read, answered, answering.device, remote=feed.remote)


def _first_window(tiling: Tiling, batch_size: int, first: int) -> int:
    """The start of the batch with the first window that reaches below the pixel rows which are known already.

    Batches are the same windows wherever a run begins: only so does one that goes on give the same numbers to the bit.
    """
    row = next(i for i, top in enumerate(tiling.rows) if top + tiling.window > first)
    return row * len(tiling.cols) // batch_size * batch_size
