"""Where samples lie, and the spatial blocks that hold them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ecotone.data.base import Dataset
from ecotone.errors import DataError

KM_PER_DEGREE = 111.2
HALVINGS = 24  # of the extent; beyond it, blocks of a whole Earth are about a metre


def places(dataset: Dataset) -> Tensor:
    """(N, 2) longitude and latitude of the samples in degrees, NaN where unknown."""
    found = [dataset[i].place for i in range(len(dataset))]
    return torch.tensor([(p.lon, p.lat) if p else (math.nan, math.nan) for p in found], dtype=torch.float64)


def check_places(name: str, datasets: Sequence[Dataset]) -> None:
    """Check that some sample of a dataset's splits says where it lies.

    Raises:
        DataError: None does.
    """
    if not any(dataset[i].place for dataset in datasets for i in range(len(dataset))):
        raise DataError(
            f"{name} does not say where its samples lie, so no spatial blocks can be made",
            mend="Use georeferenced files, or columns lon and lat in manifest.csv; or leave the audit out.",
        )


def spatial_blocks(lonlat: Tensor, least: int) -> tuple[Tensor, float]:
    """The largest squares, halving the extent, that are enough in number and of which none holds too many samples.

    Args:
        lonlat: (N, 2) degrees, all known.
        least: Occupied blocks that are needed; no block may hold more than 4 / least of the samples.

    Returns:
        The block (N,) of every sample, counted from 0, and the side of a block in km.

    Raises:
        DataError: The samples lie in too few places.
    """
    lon, lat = lonlat.double().unbind(1)
    # Sinusoidal projection about the middle: areas are true, so blocks are alike.
    km = torch.stack([(lon - lon.mean()) * torch.cos(torch.deg2rad(lat)), lat], 1) * KM_PER_DEGREE
    km = km - km.amin(0)
    extent = float(km.max())
    for halving in range(1, HALVINGS):
        side = extent / 2**halving
        if not side:
            break
        _, block, count = torch.unique((km / side).floor().long(), dim=0, return_inverse=True, return_counts=True)
        if len(count) >= least and int(count.max()) <= 4 * len(lonlat) / least:
            return block, side
    raise DataError(
        "the samples lie in too few places for spatial blocks",
        found=f"{len(torch.unique(lonlat, dim=0))} places of {len(lonlat)} samples",
        expected=f"samples spread over {least} blocks",
    )


def block_folds(block: Tensor, folds: int, seed: int) -> Tensor:
    """(N,) fold of every sample, whole blocks in one fold; the largest blocks first, each to the smallest fold.

    Args:
        block: (N,) block of every sample, counted from 0.
        folds: Number of folds.
        seed: Shuffles blocks of equal size.
    """
    count = torch.bincount(block)
    order = torch.randperm(len(count), generator=torch.Generator().manual_seed(seed))
    order = order[count[order].argsort(descending=True, stable=True)]
    fold_of, load = torch.empty(len(count), dtype=torch.int64), [0] * folds
    for b in order.tolist():
        fold = load.index(min(load))
        fold_of[b] = fold
        load[fold] += int(count[b])
    return fold_of[block]
