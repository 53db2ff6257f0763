"""Change that the pixels of two dates show without any embedding, strip by strip."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ecotone.embeddings.pairing import Pair
from ecotone.embeddings.sources import open_source
from ecotone.rasters import Raster

STRIP = 32  # rows of cells whose pixels are held at once
Array = NDArray[np.float64]


def floor_strips(pair: Pair) -> Iterator[tuple[int, dict[str, Array]]]:
    """First pixel row of each strip of the first date, and the floors by name on its pixels (h, W).

    They are the length of the difference of the pixel vectors (change vector analysis; Malila 1980), the same after
    both dates were standardised band by band, and the spectral angle (Kruse et al. 1993); each at every pixel, and as
    the mean over the cells of the embedding, which is what their detail is worth. NaN where a date is not valid.

    Raises:
        DataError: A raster is not where it was embedded.
    """
    offset = [(own - other) * pair.before.facts.step for own, other in zip(*pair.origins, strict=True)]
    step = pair.before.facts.step
    with open_source(pair.before) as before, open_source(pair.after) as after:
        spread = [_moments(r, step) for r in (before, after)]
        for top, one in _strips(before, step):
            height, width = one.shape[1:]
            other = _values(after, (top - offset[0], -offset[1], height, width))
            yield top, _floors(one, other, spread, step)


def _floors(one: Array, other: Array, spread: list[tuple[Array, Array]], step: int) -> dict[str, Array]:
    """The floors of a strip of pixels (C, h, w)."""
    (mean, std), (mean_after, std_after) = spread
    standard = (other - mean_after) / std_after - (one - mean) / std
    lengths = np.linalg.norm(one, axis=0) * np.linalg.norm(other, axis=0)
    cosine = np.divide((one * other).sum(0), lengths, out=np.ones_like(lengths), where=lengths != 0)
    found = {
        "difference of pixels (CVA)": np.linalg.norm(other - one, axis=0),
        "difference of standardised pixels": np.linalg.norm(standard, axis=0),
        "spectral angle": np.where(np.isfinite(lengths), np.arccos(cosine.clip(-1, 1)), np.nan),
    }
    return found | {f"{name}, cell mean": _cell_means(values, step) for name, values in found.items()}


def _cell_means(values: Array, step: int) -> Array:
    """The mean over blocks of step x step pixels, at each of their pixels; NaN pixels are left out."""
    seen = np.isfinite(values)
    sums, counts = np.where(seen, values, 0), seen.astype(float)
    for axis in range(2):
        starts = np.arange(0, values.shape[axis], step)
        sums, counts = (np.add.reduceat(x, starts, axis) for x in (sums, counts))
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return means.repeat(step, 0).repeat(step, 1)[: values.shape[0], : values.shape[1]]


def _moments(raster: Raster, step: int) -> tuple[Array, Array]:
    """(C, 1, 1) mean and standard deviation of each band over the valid pixels."""
    count, total, squares = 0, 0.0, 0.0
    for _, values in _strips(raster, step):
        known = values[:, np.isfinite(values).all(0)]
        count, total, squares = count + known.shape[1], total + known.sum(1), squares + np.square(known).sum(1)
    mean = np.asarray(total) / max(1, count)
    std = np.sqrt((np.asarray(squares) / max(1, count) - mean**2).clip(0))
    return mean[:, None, None], np.where(std > 0, std, 1)[:, None, None]


def _strips(raster: Raster, step: int) -> Iterator[tuple[int, Array]]:
    for top in range(0, raster.shape[0], STRIP * step):
        height = min(STRIP * step, raster.shape[0] - top)
        yield top, _values(raster, (top, 0, height, raster.shape[1]))


def _values(raster: Raster, window: tuple[int, int, int, int]) -> Array:
    """(C, h, w) stored values; NaN where not valid."""
    image = raster.read(window)
    values = image.pixels[0].numpy().astype(np.float64)
    return values if image.valid is None else np.where(image.valid[0].numpy(), values, np.nan)
