"""The smooth fields below everything: elevation, distance to water, woods, people, soils; a function of position."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from ecotone.data.synthetic.noise import Array, Grid, ladder, spline_weights

STEP = 32.0  # metres between the lattice points of the smooth fields
PAGE = 128  # lattice points along a page: 4 km
KEPT_PAGES = 64  # 16,384 points and 13 fields of 4 bytes each: 55 MB at most
NAMES = (
    "elevation", "relief_x", "relief_y", "shore", "woods", "bare", "wet",
    "warp_x", "warp_y", "people", "works", "orchards", "pasture",
)  # fmt: skip
_WARP_M = 45.0
# Two ladders of wavelengths in metres, so that fields share their interpolation weights.
_LONG, _SHORT = ladder(9000.0, 3), ladder(5600.0, 4)


class Terrain:
    """Smooth fields of one world, computed page by page on an absolute lattice and kept while they are in use.

    Fields: ``elevation`` in metres; ``relief_x`` and ``relief_y``, its slope; ``shore``, metres to the nearest water,
    negative inside; ``warp_x`` and ``warp_y``, the metres by which parcels and roads bend; the others are tendencies
    with a standard deviation near 1.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._pages: OrderedDict[tuple[int, int], Array] = OrderedDict()

    def on_lattice(self, ix: int, iy: int, width: int, height: int) -> Array:
        """(fields, height, width) of the lattice points from (ix, iy) on; y grows to the north."""
        out = np.empty((len(NAMES), height, width), np.float32)
        for py in range(iy // PAGE, (iy + height - 1) // PAGE + 1):
            for px in range(ix // PAGE, (ix + width - 1) // PAGE + 1):
                x0, x1 = max(ix, px * PAGE), min(ix + width, (px + 1) * PAGE)
                y0, y1 = max(iy, py * PAGE), min(iy + height, (py + 1) * PAGE)
                page = self._page(px, py)[:, y0 - py * PAGE : y1 - py * PAGE, x0 - px * PAGE : x1 - px * PAGE]
                out[:, y0 - iy : y1 - iy, x0 - ix : x1 - ix] = page
        return out

    def _page(self, px: int, py: int) -> Array:
        if (px, py) not in self._pages:
            self._pages[px, py] = _compute(self.seed, px * PAGE, py * PAGE)
            if len(self._pages) > KEPT_PAGES:
                self._pages.popitem(last=False)
        self._pages.move_to_end((px, py))
        return self._pages[px, py]


class Patch:
    """The smooth fields around a window: on the points of its grid, or at any place near it."""

    MARGIN = 14  # lattice points, 448 m: more than half a parcel's diagonal plus the warp

    def __init__(self, terrain: Terrain, xs: Array, ys: Array) -> None:
        self.xs, self.ys = xs / STEP, ys / STEP
        self.ix = int(np.floor(self.xs.min())) - self.MARGIN
        self.iy = int(np.floor(self.ys.min())) - self.MARGIN
        width = int(np.floor(self.xs.max())) + self.MARGIN + 2 - self.ix
        height = int(np.floor(self.ys.max())) + self.MARGIN + 2 - self.iy
        self.lattice = terrain.on_lattice(self.ix, self.iy, width, height)
        self._wx = spline_weights(self.xs, self.ix, width, smooth=False)
        self._wy = spline_weights(self.ys, self.iy, height, smooth=False)

    def on_grid(self, *names: str) -> list[Array]:
        """(H, W) each, on the grid of the window."""
        return [(self._wy @ self.lattice[NAMES.index(n)]) @ self._wx.T for n in names]

    def at(self, x: Array, y: Array, *names: str) -> list[Array]:
        """Bilinear values at places in metres (any shape); places beyond the margin get the nearest lattice value."""
        px = np.clip(x / STEP - self.ix, 0, self.lattice.shape[2] - 1.001)
        py = np.clip(y / STEP - self.iy, 0, self.lattice.shape[1] - 1.001)
        i, j = px.astype(np.int64), py.astype(np.int64)
        tx, ty = (px - i).astype(np.float32), (py - j).astype(np.float32)
        out = []
        for name in names:
            f = self.lattice[NAMES.index(name)]
            south = f[j, i] * (1 - tx) + f[j, i + 1] * tx
            out.append(south * (1 - ty) + (f[j + 1, i] * (1 - tx) + f[j + 1, i + 1] * tx) * ty)
        return out


def _compute(seed: int, ix: int, iy: int) -> Array:
    """One page; a ring of two lattice points around it makes the slopes independent of the page borders."""
    xs = np.arange(ix - 2, ix + PAGE + 2) * STEP
    ys = np.arange(iy - 2, iy + PAGE + 2) * STEP
    grid = Grid(xs, ys)

    def field(wavelength: float, octaves: int, salt: int) -> Array:
        return grid.fbm(wavelength, octaves, seed * 1009 + salt)

    valley = field(_LONG[0], 5, 1)
    lake = field(_LONG[1], 6, 2)
    relief = np.clip(0.45 + 0.4 * field(3 * _LONG[0], 2, 3), 0.08, 1.3)
    moist = field(_LONG[1], 4, 4)
    # The river runs where the valley field crosses zero: dividing by its slope makes metres of it.
    river = np.abs(valley) / _steepness(valley) - (34 + 14 * np.tanh(field(_SHORT[0], 2, 5)))
    basin = (1.1 + 0.6 * relief - lake) / _steepness(lake)
    # Lakes count as far from land close to their banks, so that no road crosses them as it crosses rivers.
    basin = np.where(basin < 0, 6 * basin, basin)
    shore = np.clip(np.minimum(river, basin), -600, 3000)
    high = valley**2 / (valley**2 + 0.8)
    hills = (1.5 + field(_SHORT[1], 5, 6)) * np.tanh(shore.clip(0) / 500)
    elevation = 90 + relief * (900 * high + 70 * hills)
    relief_y, relief_x = (g / np.float32(STEP) for g in np.gradient(elevation))
    steep = np.hypot(relief_x, relief_y)
    near = np.exp(-shore.clip(0) / 220)
    people = field(_SHORT[0], 4, 7) + 0.5 * np.exp(-shore.clip(0) / 2500) - 5 * steep - 0.35 * relief
    marsh = 2 * field(_SHORT[0], 5, 16) - 0.3
    fields = {
        "elevation": elevation,
        "relief_x": relief_x,
        "relief_y": relief_y,
        "shore": shore,
        "woods": field(_SHORT[1], 6, 8) + 4.5 * steep + 0.4 * moist,
        "bare": np.maximum(field(_LONG[1], 6, 9) - 0.45 * moist - 0.4, (elevation - 760) / 90),
        "wet": np.maximum(0.95 * moist + 2.1 * near, marsh) - 6 * steep + 0.35 * field(_SHORT[3], 4, 10),
        "warp_x": _WARP_M * grid.noise(_SHORT[2], seed * 1009 + 11),
        "warp_y": _WARP_M * grid.noise(_SHORT[2], seed * 1009 + 12),
        "people": people,
        "works": field(_LONG[2], 3, 13),
        "orchards": field(_LONG[1], 3, 14) - 2 * steep,
        "pasture": field(_SHORT[0], 3, 15) + 5 * steep + 0.3 * moist,
    }
    return np.stack([fields[n][2:-2, 2:-2] for n in NAMES]).astype(np.float32)


def _steepness(f: Array) -> Array:
    dy, dx = np.gradient(f)
    return np.hypot(dx, dy) / np.float32(STEP) + np.float32(1e-5)
