"""Near-duplicate images: candidates by a perceptual hash, confirmed by the correlation of their pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ecotone.data.base import Dataset
from ecotone.errors import DataError
from ecotone.samples import Image

SIDE, KEPT = 32, 8  # pixels of the small image, and cosine frequencies of it that are kept, per side
RADIUS = 10  # bits of 64 that may differ
CORRELATION = 0.9  # least correlation of the pixels
BLOCK = 2048  # hashes that are compared with all others at once
Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Pair:
    """Two samples of a dataset that show nearly the same pixels.

    Attributes:
        first: Index of one.
        second: Index of the other, larger.
        distance: Bits of 64 in which their hashes differ.
        correlation: Of their pixels, at most 1.
    """

    first: int
    second: int
    distance: int
    correlation: float


@dataclass(frozen=True)
class Fingerprints:
    """Perceptual hashes of a dataset's images.

    Attributes:
        hashes: (N,) uint64; zero where there is none.
        usable: (N,) bool: the image could be read and is not constant.
        broken: Index -> why the image could not be read.
    """

    hashes: Hashes
    usable: NDArray[np.bool_]
    broken: dict[int, str]

    @property
    def featureless(self) -> list[int]:
        """Indices of images that hold one value everywhere."""
        return [int(i) for i in np.flatnonzero(~self.usable) if int(i) not in self.broken]


def fingerprints(dataset: Dataset, follow: Callable[[Sequence[int]], Iterable[int]] = iter) -> Fingerprints:
    """Hash every image of a dataset; its first role, all dates and bands.

    Args:
        dataset: The dataset.
        follow: Goes through the samples and may show progress.
    """
    hashes, usable = np.zeros(len(dataset), np.uint64), np.zeros(len(dataset), bool)
    broken: dict[int, str] = {}
    for i in follow(range(len(dataset))):
        try:
            planes = _planes(dataset, i)
        except DataError as error:
            broken[i] = str(error)
            continue
        usable[i] = bool(planes.any())
        hashes[i] = perceptual_hash(planes)
    return Fingerprints(hashes, usable, broken)


def perceptual_hash(planes: Tensor) -> np.uint64:
    """The 64-bit pHash: signs, about their median, of the lowest cosine frequencies of a small grey image.

    As in pHash and imagehash (Zauner 2010), with the mean of the standardised bands in place of luminance.

    Args:
        planes: (C, H, W) standardised bands.
    """
    small = F.interpolate(planes.mean(0)[None, None], (SIDE, SIDE), mode="area")[0, 0].numpy()
    low = COSINES @ small @ COSINES.T
    return np.packbits((low > np.median(low)).ravel()).view(np.uint64)[0]


def near_duplicates(
    dataset: Dataset, found: Fingerprints, *, radius: int = RADIUS, correlation: float = CORRELATION
) -> list[Pair]:
    """All pairs of near-duplicates, the most alike first.

    The comparison of hashes is exact: every hash meets every other. The correlation keeps smooth tiles, whose hashes
    agree by chance, from counting.

    Args:
        dataset: The dataset that was hashed.
        found: Its hashes.
        radius: Bits that may differ.
        correlation: Least correlation of the pixels at full size; the larger of two images is reduced by area.
    """
    planes = lru_cache(maxsize=256)(lambda i: _planes(dataset, i))
    indices = np.flatnonzero(found.usable)
    pairs = []
    for a, b, distance in close_pairs(found.hashes[indices], radius):
        first, second = int(indices[a]), int(indices[b])
        alike = pixel_correlation(planes(first), planes(second))
        if alike >= correlation:
            pairs.append(Pair(first, second, distance, alike))
    return sorted(pairs, key=lambda p: (-p.correlation, p.first, p.second))


def close_pairs(hashes: Hashes, radius: int) -> Iterator[tuple[int, int, int]]:
    """Every (i, j, distance) with i < j and a Hamming distance within the radius, by blocks."""
    for start in range(0, len(hashes), BLOCK):
        distance = np.bitwise_count(hashes[start : start + BLOCK, None] ^ hashes[None, start:])
        rows, columns = np.nonzero(np.triu(distance <= radius, 1))
        yield from zip(
            (rows + start).tolist(), (columns + start).tolist(), distance[rows, columns].tolist(), strict=True
        )


def pixel_correlation(a: Tensor, b: Tensor) -> float:
    """Correlation of two images of standardised bands (C, H, W), over all pixels and bands; other bands give 0."""
    if len(a) != len(b):
        return 0.0
    size = min(a.shape[1], b.shape[1]), min(a.shape[2], b.shape[2])
    a, b = (x if x.shape[1:] == size else F.interpolate(x[None], size, mode="area")[0] for x in (a, b))
    norm = float(a.norm() * b.norm())
    return float((a * b).sum()) / norm if norm else 0.0


def _planes(dataset: Dataset, index: int) -> Tensor:
    return standardised(next(iter(dataset[index].images.values())))


def standardised(image: Image) -> Tensor:
    """(T*C, H, W) float32 bands of mean 0 and standard deviation 1; constant bands and unobserved pixels are 0."""
    values = image.pixels.float()
    seen = values.isfinite() if image.valid is None else values.isfinite() & image.valid.unsqueeze(1)
    values, seen = values.flatten(0, 1), seen.flatten(0, 1)
    count = seen.sum((1, 2), keepdim=True).clamp_min(1)
    centred = torch.where(seen, values, 0.0)
    centred = torch.where(seen, values - centred.sum((1, 2), keepdim=True) / count, 0.0)
    std = (centred.square().sum((1, 2), keepdim=True) / count).sqrt()
    # Rounding leaves a constant band a spread of about 1e-7 of its value.
    varies = std > 1e-6 * torch.where(seen, values.abs(), 0.0).amax((1, 2), keepdim=True)
    return torch.where(varies, centred / std.clamp_min(torch.finfo(std.dtype).tiny), 0.0)


def _cosines() -> NDArray[np.float32]:
    """(KEPT, SIDE) rows of the discrete cosine transform, type II."""
    k, n = np.arange(KEPT)[:, None], np.arange(SIDE)[None]
    return np.cos(np.pi * k * (2 * n + 1) / (2 * SIDE)).astype(np.float32)


COSINES = _cosines()
