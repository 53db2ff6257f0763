"""Splits by place: blocks of ground belong to one split, and samples of two splits share no pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from ecotone.data.vector_labels.options import SPLITS
from ecotone.errors import DataError

KEPT_FIRST = ("test", "val", "train")  # of two samples too near to each other, that of the later one is left out


def assign_blocks(
    blocks: NDArray[np.int64], counts: NDArray[np.int64], shares: Sequence[float], seed: int
) -> NDArray[np.int64]:
    """The split of each sample: whole blocks, shared out so that every class comes near to the shares.

    Blocks are taken from the largest to the smallest, in an order that the seed decides among equals. Each goes to the
    split that has least of what it should have of the block's classes, the rarer a class the more it weighs (after the
    iterative stratification of Sechidis et al., ECML 2011).

    Args:
        blocks: (n, 2) the block of each sample.
        counts: (n, K) what each sample holds of each class.
        shares: Of the splits, in the order of ``SPLITS``.
        seed: Decides among equals.

    Raises:
        DataError: There are fewer blocks than splits.
    """
    _, owner = np.unique(blocks, axis=0, return_inverse=True)
    owner = owner.ravel()
    number, wanted = int(owner.max()) + 1, [i for i, share in enumerate(shares) if share]
    if number < len(wanted):
        raise DataError(
            "the samples lie in too few blocks to be split by place",
            found=f"{number} blocks",
            expected=f"at least {len(wanted)}, one for each split",
            mend="Make blocks smaller with --block, or give fewer splits with --shares.",
        )
    counts = np.concatenate(
        [counts, np.ones((len(counts), 1), np.int64)], 1
    )  # the samples themselves are shared out too
    held = np.zeros((number, counts.shape[1]))
    np.add.at(held, owner, counts / np.maximum(counts.sum(0), 1))
    shuffled = np.random.default_rng(seed).permutation(number)
    order = shuffled[np.argsort(-held[shuffled].sum(1), kind="stable")]
    share, filled = np.array(shares)[wanted], np.zeros((len(wanted), counts.shape[1]))
    chosen = np.empty(number, np.int64)
    for block in order:
        least = int(np.argmin((filled / share[:, None]) @ held[block] - share * 1e-9))  # the largest share of equals
        chosen[block] = wanted[least]
        filled[least] += held[block]
    return chosen[owner]


def assign_random(count: int, shares: Sequence[float], seed: int) -> NDArray[np.int64]:
    """The split of each of some samples, drawn at random in these shares."""
    ends = np.round(np.cumsum(shares) * count)
    found = np.empty(count, np.int64)
    found[np.random.default_rng(seed).permutation(count)] = np.searchsorted(ends, np.arange(count), side="right")
    return found


def apart(footprints: NDArray[np.object_], splits: NDArray[np.int64], buffer: float) -> NDArray[np.bool_]:
    """Which samples may stay, so that those of two splits are at least ``buffer`` metres apart.

    Samples of train give way to those of val, and both to those of test.

    Args:
        footprints: (n,) polygons in metres.
        splits: (n,) indices into ``SPLITS``.
        buffer: Metres; with 0 they may touch and not overlap.
    """
    tree = shapely.STRtree(footprints)
    if buffer:
        one, other = tree.query(footprints, predicate="dwithin", distance=buffer)
    else:
        one, other = tree.query(footprints, predicate="intersects")
    differ = splits[one] != splits[other]
    one, other = one[differ], other[differ]
    if not buffer:
        shared = shapely.area(shapely.intersection(footprints[one], footprints[other]))
        real = shared > 1e-6 * shapely.area(footprints[one])  # of touching ones only rounding is left
        one, other = one[real], other[real]
    rank = np.array([KEPT_FIRST.index(name) for name in SPLITS])[splits]
    kept = np.ones(len(footprints), bool)
    for place in (1, 2):
        lost = (rank[one] == place) & (rank[other] < place) & kept[other]
        kept[one[lost]] = False
    return kept
