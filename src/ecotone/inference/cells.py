"""A predictor of whole images over rasters of any size: one cell of the map for each window."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ecotone.inference.answering import Answering
from ecotone.inference.dense import AnsweredRows, answered_windows
from ecotone.rasters.tiling import Tiling


def cell_rows(
    answering: Answering, tiling: Tiling, batch_size: int, min_valid: float, first: int = 0
) -> Iterator[AnsweredRows]:
    """Answers for the rows of cells from ``first`` on; cells with too few observed pixels have none."""
    columns = len(tiling.cols)
    start = first * columns // batch_size * batch_size  # the same batches wherever a run begins: the same bits
    answers, seen = torch.zeros(answering.outputs, 1, columns), np.zeros((1, columns), bool)
    for windows, answered in answered_windows(answering, tiling, batch_size, start, min_valid):
        found = iter(answered)
        for i, worth in enumerate(windows.worth):
            row, col = divmod(windows.start + i, columns)
            seen[0, col] = worth
            if worth:
                answers[:, 0, col] = next(found)
            if col == columns - 1:
                if row >= first:
                    yield AnsweredRows(answers, torch.from_numpy(seen))
                answers, seen = torch.zeros_like(answers), np.zeros_like(seen)
