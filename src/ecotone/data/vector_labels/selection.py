"""Which samples are made, which split they belong to, and which of them stay."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from ecotone.data.vector_labels.options import BLOCK_CHIPS, BLOCK_PIXELS, SPLITS, LabelOptions
from ecotone.data.vector_labels.shapes import Shapes
from ecotone.data.vector_labels.splitting import apart, assign_blocks, assign_random
from ecotone.data.vector_labels.spots import Spot
from ecotone.data.vector_labels.writing import Written
from ecotone.errors import DataError
from ecotone.rasters import Raster
from ecotone.rasters.ground import Ground


class RandomSplitWarning(UserWarning):
    """Samples were split at random, so neighbours lie on both sides."""


def select(
    spots: list[Spot], rasters: Sequence[Raster], ground: Ground, shapes: Shapes, options: LabelOptions, counts: Counter
) -> list[Spot]:
    """The spots to be written, in the order of the rasters: by class at most the limit, apart from each other."""
    if options.kind == "masks" or not spots:
        return spots
    order = np.random.default_rng(options.seed).permutation(len(spots))
    seen: Counter[int] = Counter()
    rank = {}
    for i in order.tolist():  # a class's n-th sample comes after every class's (n - 1)-th: rare ones keep their share
        rank[i] = seen[spots[i].codes[0]]
        seen[spots[i].codes[0]] += 1
    order = np.array(sorted(order.tolist(), key=rank.__getitem__), np.int64)
    if options.min_distance:
        metres = np.concatenate([_metres(ground, rasters[s.raster], _middle(s)) for s in spots])
        order = thin(metres, order, options.min_distance)
    taken: Counter[int] = Counter()
    chosen = []
    others = max((n for code, n in seen.items() if code), default=0)
    for i in order.tolist():
        code = spots[i].codes[0]
        # Without a limit, the tiles that hold no point are as many as the points of the most frequent class.
        most = options.most or (others if shapes.points and shapes.background and code == 0 else len(spots))
        if taken[code] < most:
            taken[code] += 1
            chosen.append(i)
    counts["thinned"] += len(spots) - len(chosen)
    return [spots[i] for i in sorted(chosen)]


def split_samples(
    done: Sequence[Written], rasters: Sequence[Raster], ground: Ground, options: LabelOptions
) -> tuple[NDArray[np.int64], float | None]:
    """The split of each sample, and the side of a block in metres."""
    if options.split == "random":
        warnings.warn(
            "The split is random: samples of train, val and test lie side by side and may share pixels, which flatters "
            "every score. Split by place for figures that hold elsewhere.",
            RandomSplitWarning,
            stacklevel=3,
        )
        return assign_random(len(done), options.shares, options.seed), None
    gsd = max(r.gsd or 0 for r in rasters)
    block = options.block or max(BLOCK_CHIPS * options.side, BLOCK_PIXELS) * gsd
    metres = np.concatenate([_metres(ground, rasters[w.spot.raster], _middle(w.spot)) for w in done])
    counts = np.array([w.counts for w in done], np.int64)
    return assign_blocks(np.floor(metres / block).astype(np.int64), counts, options.shares, options.seed), block


def settle(
    done: Sequence[Written],
    splits: NDArray[np.int64],
    rasters: Sequence[Raster],
    ground: Ground,
    options: LabelOptions,
) -> NDArray[np.bool_]:
    """(n,) which samples stay; the others are too near to one of another split."""
    if options.split == "random":
        return np.ones(len(done), bool)
    footprints = []
    for written in done:
        row, col, height, width = written.spot.window
        around = np.array([[row, col], [row + height, col], [row + height, col + width], [row, col + width]], float)
        footprints.append(_metres(ground, rasters[written.spot.raster], around))
    return apart(np.asarray(shapely.polygons(np.array(footprints))), splits, options.buffer)


def check_splits(splits: NDArray[np.int64], options: LabelOptions) -> None:
    """See that every split with a share has samples.

    Raises:
        DataError: One has none.
    """
    for number, name in enumerate(SPLITS):
        if options.shares[number] and not (splits == number).any():
            raise DataError(
                f"no sample is left for {name}",
                found=f"{len(splits)} samples, buffer {options.buffer:g} m",
                mend="Make blocks larger or smaller with --block, or the buffer smaller.",
            )


def _metres(ground: Ground, raster: Raster, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    return ground.metres(raster.crs.to_wkt() if raster.crs else "", raster.transform, pixels)


def _middle(spot: Spot) -> NDArray[np.float64]:
    """(1, 2) row and column of the middle of a sample."""
    row, col, height, width = spot.window
    return np.array([[row + height / 2, col + width / 2]])


def thin(metres: NDArray[np.float64], order: NDArray[np.int64], distance: float) -> NDArray[np.int64]:
    """Those of ``order`` that are at least this many metres from every one kept before, in the same order."""
    cells: dict[tuple[int, int], list[int]] = {}
    kept = []
    for i in order.tolist():
        x, y = np.floor(metres[i] / distance).astype(int).tolist()
        near = [j for dx in (-1, 0, 1) for dy in (-1, 0, 1) for j in cells.get((x + dx, y + dy), ())]
        if near and np.hypot(*(metres[near] - metres[i]).T).min() < distance:
            continue
        cells.setdefault((x, y), []).append(i)
        kept.append(i)
    return np.array(kept, np.int64)
