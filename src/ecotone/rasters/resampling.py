"""A raster at another GSD: means over area where it gets coarser, bilinear interpolation where it gets finer."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecotone.errors import DataError
from ecotone.rasters.gsd import check_gsd, grid_place
from ecotone.rasters.raster import Raster, Rows

SAME_GSD = 1e-3  # relative; interpolating over less would only blur


def at_gsd(raster: Raster, gsd: float) -> Raster:
    """The raster on a grid of this GSD, in the same CRS and turned alike; itself if it is there within 0.1 %.

    The grid keeps its upper left corner and covers the whole raster. Pixels are float32. Pixels that are not valid have
    no part in a mean, and one is valid where at least half of its ground was observed. Decibels are averaged as power.
    The effective GSD stays that of the raster where the grid gets finer.

    Args:
        raster: It is read, and closed, by the raster that is returned.
        gsd: Metres per pixel.

    Raises:
        DataError: The raster's GSD is unknown, the new one is not above zero, or the pixels are classes.
    """
    check_gsd(gsd, "the arguments")
    if raster.gsd is None:
        raise DataError(f"{raster.name} does not say its GSD, so it cannot be resampled", mend="Declare it with --gsd.")
    if raster.unit.quantity == "class":
        raise DataError(f"{raster.name} holds classes, which have no mean", mend="Read it at its own GSD.")
    factor = gsd / raster.gsd
    if abs(factor - 1) < SAME_GSD:
        return raster
    t, shape = raster.transform, tuple(max(1, -int(-(n / factor - 1e-6) // 1)) for n in raster.shape)
    transform = Affine(t.a * factor, t.b * factor, t.c, t.d * factor, t.e * factor, t.f)
    own = {f.name: getattr(raster, f.name) for f in fields(Raster) if f.init and not f.name.startswith("_")}
    own |= {"shape": shape, "transform": transform, "gsd": gsd, "gsd_source": "resampled", "nodata": None}
    own |= {"dtype": "float32", "place": grid_place(raster.crs, transform, (shape[0], shape[1]))}
    own["effective_gsd"] = max(gsd, raster.effective_gsd or raster.gsd)
    return ResampledRaster(**own, base=raster, factor=factor)


@dataclass
class ResampledRaster(Raster):
    """A raster whose pixels come from another one.

    Attributes:
        base: The raster that is read.
        factor: Its pixels per pixel of this one, along a side.
    """

    base: Raster = field(kw_only=True)
    factor: float = field(kw_only=True)

    @property
    def block_rows(self) -> int:
        return max(1, int(self.base.block_rows / self.factor))

    def _read_into(self, values: NDArray[Any], window: Rows) -> NDArray[np.bool_]:
        down, across = (_weights(*span, self.factor, size) for span, size in zip(window, self.base.shape, strict=True))
        inside = (down.window, across.window)
        stored, seen = self.base._read(inside)
        share = down.matrix @ (across.matrix @ seen.astype(np.float32).T).T
        decibel = self.unit.decibel
        for band, out in zip(stored, values, strict=True):
            known = np.where(seen, np.power(10.0, band / 10) if decibel else band, 0).astype(np.float32)
            total = down.matrix @ (across.matrix @ known.T).T
            np.divide(total, share, out=total, where=share > 0)
            out[...] = 10 * np.log10(np.maximum(total, 1e-10)) if decibel else total
        return share >= 0.5 - 1e-4  # float32 rounds the share of a half observed pixel

    def close(self) -> None:
        self.base.close()


@dataclass(frozen=True)
class _Weights:
    """Rows of ``matrix`` sum to one over the source pixels ``window`` of one axis."""

    matrix: csr_array
    window: tuple[int, int]


def _weights(start: int, stop: int, factor: float, size: int) -> _Weights:
    """How source pixels along one axis make the pixels ``start`` to ``stop``, by overlap or by distance of centres."""
    out = np.arange(start, stop)
    if factor > 1:
        low, high = out * factor, (out + 1) * factor
        taps = np.floor(low)[:, None] + np.arange(int(np.ceil(factor)) + 1)
        weight = np.minimum(high[:, None], taps + 1) - np.maximum(low[:, None], taps)
        weight = np.maximum(weight, 0) / factor
    else:
        centre = np.clip((out + 0.5) * factor - 0.5, 0, size - 1)
        taps = np.floor(centre)[:, None] + np.arange(2)
        weight = np.maximum(1 - np.abs(centre[:, None] - taps), 0)
    used = (weight > 1e-9) & (taps < size)
    first, last = int(taps[used].min()), int(taps[used].max()) + 1
    row, _ = np.nonzero(used)
    matrix = csr_array(
        (weight[used].astype(np.float32), (row, (taps[used] - first).astype(int))), shape=(len(out), last - first)
    )
    return _Weights(matrix, (first, last))
