"""Drawing a window: many points in every pixel, averaged, so that coarse pixels are the mean of fine ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from ecotone.data.synthetic.cover import CLASSES, Ground, survey
from ecotone.data.synthetic.events import EVENT_CODE, Event
from ecotone.data.synthetic.noise import Array
from ecotone.data.synthetic.spectra import MATERIALS
from ecotone.data.synthetic.terrain import Terrain
from ecotone.data.synthetic.texture import Painter

_TILE = 128  # pixels per side that are drawn at a time
_FINEST_M = 3.34  # pitch of the points inside a pixel, where MAX_POINTS per side reach it
MAX_POINTS = 8


@dataclass(frozen=True)
class PixelGrid:
    """Pixels from a north-west corner, in metres east and north."""

    x0: float
    y0: float
    height: int
    width: int
    gsd: float

    def points(self, per_side: int) -> tuple[Array, Array]:
        """Metres east (W * per_side,) and north (H * per_side,) of the points that divide every pixel evenly."""
        step = self.gsd / per_side
        xs = self.x0 + (np.arange(self.width * per_side) + 0.5) * step
        return xs, self.y0 - (np.arange(self.height * per_side) + 0.5) * step

    def tile(self, top: int, left: int) -> PixelGrid:
        """The tile whose first pixel is in this row and column."""
        height, width = min(_TILE, self.height - top), min(_TILE, self.width - left)
        return PixelGrid(self.x0 + left * self.gsd, self.y0 - top * self.gsd, height, width, self.gsd)


@dataclass(frozen=True)
class Drawing:
    """What fills the pixels of a window.

    Attributes:
        shares: (H, W, materials) light from each material.
        cover: (H, W) code of the most frequent land cover.
        change: (H, W) code of the kind of event that changed it, 0 where none did.
    """

    shares: Array
    cover: NDArray[np.uint8]
    change: NDArray[np.uint8]


def points_per_side(gsd: float) -> int:
    """How many points a pixel of this GSD averages per side: 2 in fine pixels, 3 at 10 m, at most MAX_POINTS."""
    return int(np.clip(np.ceil(gsd / _FINEST_M), 2, MAX_POINTS))


def draw(
    seed: int,
    terrain: Terrain,
    grid: PixelGrid,
    day: date,
    events: tuple[Event, ...] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Drawing:
    """Draw a window tile by tile, after these events."""
    shape = grid.height, grid.width
    out = Drawing(np.empty((*shape, len(MATERIALS)), np.float32), np.empty(shape, np.uint8), np.zeros(shape, np.uint8))
    for top in range(0, grid.height, _TILE):
        for left in range(0, grid.width, _TILE):
            tile = grid.tile(top, left)
            box = np.s_[top : top + tile.height, left : left + tile.width]
            out.shares[box], out.cover[box], out.change[box] = _draw_tile(seed, terrain, tile, day, events)
        if progress:
            progress(min(top + _TILE, grid.height), grid.height)
    return out


def _draw_tile(
    seed: int, terrain: Terrain, tile: PixelGrid, day: date, events: tuple[Event, ...]
) -> tuple[Array, NDArray[np.uint8], NDArray[np.uint8] | int]:
    n, shape = points_per_side(tile.gsd), (tile.height, tile.width)
    xs, ys = tile.points(n)
    ground = survey(seed, terrain, xs, ys, events)
    pixel = (np.arange(len(ys))[:, None] // n * tile.width + np.arange(len(xs)) // n).ravel()
    shares = _mix(ground, day, tile.gsd / n, pixel, tile.height * tile.width).reshape(*shape, -1) / n**2
    cover = _majority(ground.cover, pixel, shape)
    if not events:
        return shares, cover, 0
    changed = cover != _majority(ground.before, pixel, shape)
    return shares, cover, np.where(changed, _majority(_kinds(ground, events), pixel, shape, ignore=0), 0)


def _mix(ground: Ground, day: date, pitch: float, pixel: NDArray[np.int64], pixels: int) -> Array:
    """(pixels, K) light from each material, summed over the points of every pixel."""
    skin = Painter(ground, day, pitch).paint()
    k = len(MATERIALS)
    first = np.bincount(pixel * k + skin.first, skin.light * (1 - skin.share), pixels * k)
    second = np.bincount(pixel * k + skin.second, skin.light * skin.share, pixels * k)
    return (first + second).astype(np.float32).reshape(pixels, k)


def _majority(
    codes: NDArray[np.uint8], pixel: NDArray[np.int64], shape: tuple[int, int], ignore: int | None = None
) -> NDArray[np.uint8]:
    """(H, W) most frequent code among the points of every pixel."""
    k = len(CLASSES) + 1
    counts = np.bincount(pixel * k + codes.ravel(), minlength=shape[0] * shape[1] * k).reshape(-1, k)
    if ignore is not None:
        counts[:, ignore] = 0
    return counts.argmax(1).astype(np.uint8).reshape(shape)


def _kinds(ground: Ground, events: tuple[Event, ...]) -> NDArray[np.uint8]:
    """(H, W) code of the last event that changed each point."""
    kinds = np.zeros(ground.cover.shape, np.uint8)
    now = ground.before.copy()
    for event in events:
        last = now.copy()
        event.apply(now, ground.xs, ground.ys, ground.shore, ground.rough)
        kinds[now != last] = EVENT_CODE[event.kind]
    return kinds
