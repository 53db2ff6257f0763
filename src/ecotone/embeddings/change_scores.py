"""How well a change map agrees with labels, beside what the pixels alone reach."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import DatasetReader
from sklearn.metrics import average_precision_score

from ecotone.embeddings.auc import grouped_auc
from ecotone.embeddings.change import Change
from ecotone.embeddings.change_floors import floor_strips
from ecotone.embeddings.pairing import Pair
from ecotone.errors import DataError
from ecotone.rasters.files import open_file, readable

Array = NDArray[np.float64]
BLOCK = 4  # cells along a side, whose pixels count as one draw


@dataclass(frozen=True)
class ChangeScore:
    """How well one measure of change ranks labelled pixels.

    Attributes:
        name: The measure.
        floor: It uses no embedding.
        auc: Area under the receiver operating characteristic: 0.5 by chance, 1 at best.
        auc_ci95: Its 95 % interval (``grouped_auc``) over blocks of 4 x 4 cells, since neighbours resemble each other;
            None where changed or unchanged pixels lie in one block, or nothing is confused.
        average_precision: As scikit-learn counts it; by chance the share of changed pixels.
        changed: Labelled pixels with change.
        unchanged: Labelled pixels without.
    """

    name: str
    floor: bool
    auc: float
    auc_ci95: tuple[float, float] | None
    average_precision: float
    changed: int
    unchanged: int


def score_change(change: Change, changed: str | Path, unchanged: str | Path | None = None) -> list[ChangeScore]:
    """Score a change map and the floors on the same labelled pixels; every pixel counts with the value of its cell.

    The floors (``floor_strips``) see the bands that the model saw.

    Args:
        change: The change map.
        changed: A raster on the pixels of the first date: not 0 where there is change.
        unchanged: The same for no change; without it, every other pixel of ``changed`` that holds data is unchanged.

    Raises:
        DataError: A label raster does not lie on the pixels of the first date, or labels lack one of the two classes.
    """
    truth = _truth(change.pair, changed, unchanged)
    names = ["embedding"]
    values: list[list[Array]] = []
    labels: list[NDArray[np.bool_]] = []
    blocks: list[NDArray[np.int64]] = []
    for top, floors in floor_strips(change.pair):
        height, width = next(iter(floors.values())).shape
        part = truth[top : top + height, :width]
        own = _pixels(change, top, height, width)
        known = (part >= 0) & np.isfinite(own) & np.all([np.isfinite(f) for f in floors.values()], 0)
        names[1:] = floors
        values.append([m[known] for m in (own, *floors.values())])
        labels.append(part[known] == 1)
        blocks.append(_blocks(change.pair, top, height, width)[known])
    said, block = np.concatenate(labels), np.concatenate(blocks)
    if said.all() or not said.any():
        raise DataError(
            "the labels that fall on compared cells need both change and no change",
            found=f"{int(said.sum())} changed and {int((~said).sum())} unchanged pixels",
        )
    columns = [np.concatenate(v) for v in zip(*values, strict=True)]
    return [_score(n, said, v, block) for n, v in zip(names, columns, strict=True)]


def _score(name: str, truth: NDArray[np.bool_], values: Array, block: NDArray[np.int64]) -> ChangeScore:
    counts = int(truth.sum()), int((~truth).sum())
    precision = float(average_precision_score(truth, values))
    return ChangeScore(name, name != "embedding", *grouped_auc(values, truth, block), precision, *counts)


def _truth(pair: Pair, changed: str | Path, unchanged: str | Path | None) -> NDArray[np.int8]:
    """(H, W) of the first date's raster: 1 changed, 0 unchanged, -1 not known."""
    yes, seen = _label(pair, changed)
    if unchanged is None:
        return np.where(yes, 1, np.where(seen, 0, -1)).astype(np.int8)
    no, _ = _label(pair, unchanged)
    if (yes & no).any():
        raise DataError(f"{changed} and {unchanged} disagree", found=f"{int((yes & no).sum())} pixels marked in both")
    return np.where(yes, 1, np.where(no, 0, -1)).astype(np.int8)


def _label(pair: Pair, path: str | Path) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(H, W) what is marked, and what holds data; where the raster was resampled first, the labels follow it."""
    facts = pair.before.raster
    with readable(str(path)), open_file(path) as file:
        if not _covers(file, pair):
            raise DataError(
                f"the labels {path} do not lie on the pixels of {facts.name}",
                found=f"{file.height} x {file.width} pixels",
                expected=f"{facts.shape[0]} x {facts.shape[1]} pixels at the same place",
                mend="Warp them to the grid of the first date.",
            )
        values, seen = file.read(1, out_shape=facts.shape), file.read_masks(1, out_shape=facts.shape) > 0
        return (values != 0) & seen, seen


def _covers(file: DatasetReader, pair: Pair) -> bool:
    """Whether a label raster has the extent of the first date, and its pixels unless that was resampled."""
    facts, (height, width) = pair.before.facts, pair.before.raster.shape
    across, down = width / file.width, height / file.height
    if facts.gsd_source != "resampled" and (across, down) != (1, 1):
        return False
    if file.crs is None or file.transform.is_identity:
        return abs(across / down - 1) < 0.01
    t, own = file.transform, facts.raster.affine
    scaled = Affine(t.a / across, t.b / down, t.c, t.d / across, t.e / down, t.f)
    return pyproj.CRS(file.crs) == pyproj.CRS(facts.raster.crs) and scaled.almost_equals(own, abs(own.a + own.b) / 10)


def _pixels(change: Change, top: int, height: int, width: int) -> Array:
    """The distance of the cell that each pixel of a strip lies in; NaN beyond the common cells."""
    pair = change.pair
    rows, cols = _cell_of(pair, np.arange(top, top + height), 0), _cell_of(pair, np.arange(width), 1)
    inside = ((rows >= 0) & (rows < pair.shape[0]))[:, None] & ((cols >= 0) & (cols < pair.shape[1]))
    found = change.distance[rows.clip(0, pair.shape[0] - 1)][:, cols.clip(0, pair.shape[1] - 1)]
    return np.where(inside, found, np.nan)


def _blocks(pair: Pair, top: int, height: int, width: int) -> NDArray[np.int64]:
    """(height, width) number of the block of cells that each pixel of a strip lies in."""
    rows, cols = _cell_of(pair, np.arange(top, top + height), 0), _cell_of(pair, np.arange(width), 1)
    return (rows // BLOCK)[:, None] * (pair.shape[1] // BLOCK + 1) + cols // BLOCK


def _cell_of(pair: Pair, pixel: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
    """Number of the common cell that holds a pixel of the first date; overlapping cells count by their middle part."""
    facts = pair.before.facts
    return (pixel - (facts.cell - facts.step) // 2) // facts.step - pair.origins[0][axis]
