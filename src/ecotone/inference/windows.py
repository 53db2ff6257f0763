"""Windows of rasters for a model, cut out of strips: memory does not grow with the height of the scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ecotone.inference.ahead import ahead, side_by_side, workers_on
from ecotone.rasters import Raster
from ecotone.rasters.strips import read_strips
from ecotone.rasters.tiling import Tiling

T = TypeVar("T")
Valid = NDArray[np.bool_] | None  # (window, window) observed pixels; None where all are


@dataclass(frozen=True)
class Windows:
    """Windows that follow each other in a tiling.

    Attributes:
        start: Number of the first one.
        share: (n,) of each the share of its pixels that was observed; those beyond the edge of the raster were not.
        worth: (n,) bool: which of them the model sees.
        pixels: By role (m, C, window, window) those, in the stored type.
        valid: For each of those what was observed.
    """

    start: int
    share: NDArray[np.float64]
    worth: NDArray[np.bool_]
    pixels: dict[str, NDArray[Any]]
    valid: list[Valid]

    @property
    def stop(self) -> int:
        """The number after that of the last one."""
        return self.start + len(self.worth)

    def numbers(self, worth: bool = True) -> list[int]:
        """The numbers of those that the model sees, or of the others."""
        return (self.start + np.flatnonzero(self.worth == worth)).tolist()

    @property
    def seen(self) -> NDArray[np.bool_] | None:
        """(m, window, window) what was observed of those that the model sees; None where everything was."""
        if all(v is None for v in self.valid):
            return None
        side = next(iter(self.pixels.values())).shape[-2:]
        return np.stack([np.ones(side, bool) if v is None else v for v in self.valid])


def read_windows(
    rasters: Mapping[str, Raster], tiling: Tiling, batch_size: int, first: int = 0, least: float = 0.0
) -> Iterator[Windows]:
    """The windows of rasters that lie on one grid, ``batch_size`` at a time.

    Args:
        rasters: By role. A pixel was observed where all of them did.
        tiling: The windows.
        batch_size: How many are given at once; the last may be fewer.
        first: Number of the first one.
        least: Smallest share of observed pixels that a window needs to be worth a look; one without any is not.
    """
    columns, side, number = len(tiling.cols), tiling.window, first
    batch = _Batch(rasters, number, batch_size, side, least)
    for strips in zip(*(read_strips(r, tiling, first // columns) for r in rasters.values()), strict=True):
        seen = [s.valid for s in strips if s.valid is not None]
        valid = reduce(np.logical_and, seen) if seen else None
        for col in range(number % columns, columns):
            part = slice(tiling.cols[col], tiling.cols[col] + side)
            batch.put([s.values[:, :, part] for s in strips], None if valid is None else valid[:, part])
            number += 1
            if batch.count == batch_size or number == len(tiling):
                yield batch.windows()
                batch = _Batch(rasters, number, batch_size, side, least)


def seen_windows(
    windows: Iterator[Windows], model: Callable[[Windows], T], device: torch.device, *, remote: bool
) -> Iterator[tuple[Windows, T]]:
    """Windows in their order, each with what a model makes of it; they are read while it runs.

    Args:
        windows: As ``read_windows`` gives them.
        model: Runs in several threads.
        device: Where it runs.
        remote: Whether the windows come over the network.
    """
    workers = workers_on(device)
    # On one core, reading a local file ahead only takes the model's cache away.
    read = ahead(windows) if workers or remote else windows
    return side_by_side(lambda each: (each, model(each)), read, workers)


class _Batch:
    """Windows copied out of strips, which do not last."""

    def __init__(self, rasters: Mapping[str, Raster], start: int, size: int, side: int, least: float) -> None:
        self.start, self.least, self.count = start, least, 0
        self.share = np.ones(size)
        self.pixels = {role: np.empty((size, len(r.bands), side, side), r.dtype) for role, r in rasters.items()}
        self.valid: list[Valid] = []

    def put(self, values: list[NDArray[Any]], valid: Valid) -> None:
        share = 1.0 if valid is None else np.count_nonzero(valid) / valid.size
        self.share[self.count] = share
        self.count += 1
        if self.worth(share):
            for pixels, one in zip(self.pixels.values(), values, strict=True):
                pixels[len(self.valid)] = one
            self.valid.append(None if valid is None or share == 1 else valid.copy())

    def worth(self, share: Any) -> Any:
        return (share > 0) & (share >= self.least)

    def windows(self) -> Windows:
        share, m = self.share[: self.count], len(self.valid)
        pixels = {role: pixels[:m] for role, pixels in self.pixels.items()}
        return Windows(self.start, share, self.worth(share), pixels, self.valid)
