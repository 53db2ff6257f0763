"""A predictor of whole images over a raster of any size: one cell of the map for each window."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch

from ecotone.embeddings.footprints import CellGrid
from ecotone.inference.ahead import ahead
from ecotone.inference.answering import Answering
from ecotone.inference.dense import AnsweredRows
from ecotone.inference.windows import read_chips
from ecotone.rasters import Raster


def cell_rows(
    answering: Answering, raster: Raster, grid: CellGrid, batch_size: int, min_valid: float, first: int = 0
) -> Iterator[AnsweredRows]:
    """Answers for the rows of cells from ``first`` on; cells with too few observed pixels have none."""
    rows, columns = grid.size
    chips = ahead(read_chips(raster, grid, batch_size, first))
    for _ in range(first, rows):
        answers, seen = torch.zeros(answering.outputs, 1, columns), np.zeros((1, columns), bool)
        for start in range(0, columns, batch_size):
            group = list(islice(chips, min(batch_size, columns - start)))
            share = np.array([float(c.valid.float().mean()) for c in group])
            worth = np.flatnonzero((share > 0) & (share >= min_valid))
            if len(worth):
                pixels = np.stack([group[i].image.pixels[0].numpy() for i in worth])
                found = answering(pixels, [group[i].valid.numpy() for i in worth])
                answers[:, 0, start + worth] = found.T
                seen[0, start + worth] = True
        yield AnsweredRows(answers, torch.from_numpy(seen))
