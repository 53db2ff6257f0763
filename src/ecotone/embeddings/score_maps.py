"""Where a few-shot model sees what its examples show, as maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecotone.embeddings.fewshot import fit
from ecotone.embeddings.maps import map_files, write_map
from ecotone.embeddings.places import Place, rows_at
from ecotone.embeddings.scan import TINY
from ecotone.embeddings.store import Store


def write_score_maps(
    store: Store, positives: Sequence[Place], negatives: Sequence[Place], out: str | Path, *, centre: bool = True
) -> list[Path]:
    """Write the probability of every row by the model of ``search(positives=…, negatives=…)``, one COG per source.

    Args:
        store: The embeddings.
        positives: Examples: points, row ids or shapes.
        negatives: Counter-examples; without any, rows drawn from the store stand for them.
        out: A ``.tif`` file for one source, or a folder that gets one per source.
        centre: Subtract the store's mean.

    Raises:
        DataError: A place holds no row, or a file cannot be written.
    """
    files, scan = map_files(store, out), store.scan
    model = fit(scan, rows_at(store, positives), rows_at(store, negatives), centre=centre)
    mean = scan.mean if centre else np.zeros_like(scan.mean)
    for part, file in zip(store.parts, files, strict=True):
        cells = np.full(part.grid.size, np.nan, np.float32)
        for block in part.blocks():
            rows = block.vectors - mean
            cosines = rows @ model.direction / np.linalg.norm(rows, axis=1).clip(TINY)
            cells[block.row // part.facts.step, block.col // part.facts.step] = model.probabilities(cosines)
        write_map(file, cells, part, nodata=float("nan"), description="probability of the few-shot model")
    return files
