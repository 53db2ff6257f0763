"""Which land cover lies where: nature decides by the smooth fields, people decide parcel by parcel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ecotone.data.synthetic.layout import Layout, lay_out
from ecotone.data.synthetic.noise import Array, Grid, byte, hash32
from ecotone.data.synthetic.terrain import Patch, Terrain

if TYPE_CHECKING:
    from ecotone.data.synthetic.events import Event

CLASSES = (
    "water", "forest", "grassland", "cropland", "orchard", "residential", "industrial", "road", "bare", "wetland",
)  # fmt: skip
CODE = {name: i + 1 for i, name in enumerate(CLASSES)}  # 0 means no data, as in most land-cover maps
COLOURS = {
    "water": (65, 130, 200),
    "forest": (20, 95, 45),
    "grassland": (150, 200, 90),
    "cropland": (240, 215, 120),
    "orchard": (195, 130, 190),
    "residential": (215, 75, 65),
    "industrial": (130, 60, 110),
    "road": (90, 90, 90),
    "bare": (205, 190, 165),
    "wetland": (95, 185, 175),
}
ROAD_M = 4.5  # half the width of a country road


@dataclass(frozen=True)
class Ground:
    """What lies on a grid of points, before anything is coloured.

    Attributes:
        xs: (W,) metres east of the points.
        ys: (H,) metres north of the points.
        layout: Regions and parcels.
        cover: (H, W) codes of CLASSES.
        before: The cover without events; the same array as ``cover`` where there are none.
        shore: (H, W) metres to the nearest water, negative inside.
        wet: (H, W) wetness, about one standard deviation per unit.
        rough: (H, W) noise at 14 m.
        patchy: (H, W) noise at 55 m.
        broad: (H, W) noise at 240 m.
        use: (P,) code of the class that people gave every parcel.
    """

    xs: Array
    ys: Array
    layout: Layout
    cover: NDArray[np.uint8]
    before: NDArray[np.uint8]
    shore: Array
    wet: Array
    rough: Array
    patchy: Array
    broad: Array
    use: NDArray[np.uint8]


def survey(
    seed: int,
    terrain: Terrain,
    xs: Array,
    ys: Array,
    events: tuple[Event, ...] = (),
) -> Ground:
    """The land cover on a grid of points, given in metres east and north.

    Args:
        seed: Seed of the world.
        terrain: Its smooth fields.
        xs: (W,) metres east.
        ys: (H,) metres north.
        events: Changes that have happened.
    """
    patch = Patch(terrain, xs, ys)
    warp_x, warp_y, shore, woods, bare, wet = patch.on_grid("warp_x", "warp_y", "shore", "woods", "bare", "wet")
    layout = lay_out(seed, xs, ys, warp_x, warp_y)
    grid = Grid(xs, ys)
    rough, patchy, broad = (grid.noise(m, seed * 1009 + 40 + i) for i, m in enumerate((14, 55, 240)))
    use = _parcel_use(layout, patch)
    shore = shore + 4 * rough + 6 * patchy
    woods = woods + 0.05 * rough + 0.1 * patchy
    before = use[layout.parcel]
    built = (before == CODE["residential"]) | (before == CODE["industrial"])
    _put(before, "forest", (woods > 0.95) & ~built)
    _put(before, "bare", (bare + 0.06 * rough + 0.1 * patchy > 1.25) & ~built)
    _put(before, "wetland", (wet + 0.08 * rough + 0.12 * patchy > 2.15) & ~built)
    _put(before, "bare", (shore < 5 + 9 * broad) & (shore > -80))
    _put(before, "water", shore < 0)
    # Roads end at a lake but cross rivers, whose middle is less than 60 m from the bank.
    _put(before, "road", (layout.road < ROAD_M) & (shore > -60) & (bare < 2.2) & (wet < 3.6))
    cover = before.copy() if events else before
    for event in events:
        event.apply(cover, xs, ys, shore, rough)
    return Ground(xs, ys, layout, cover, before, shore, wet, rough, patchy, broad, use)


def _parcel_use(layout: Layout, patch: Patch) -> NDArray[np.uint8]:
    """(P,) class codes, decided at the middle of every parcel, so that its whole area has one use."""
    east, north = layout.centre
    people, works, orchards, pasture, woods, shore = patch.at(
        east, north, "people", "works", "orchards", "pasture", "woods", "shore"
    )
    bits = hash32(layout.identity, 0, 41)
    luck, other = byte(bits, 0) - 0.5, byte(bits, 1) - 0.5
    use = np.full(len(east), CODE["cropland"], np.uint8)
    _put(use, "grassland", pasture + 1.1 * luck > 0.55)
    _put(use, "orchard", orchards + 0.6 * other > 0.55)
    _put(use, "forest", woods + 1.1 * luck > 1.0)
    dry = shore > 40
    _put(use, "residential", (people + 0.35 * other > 1.1) & dry)
    _put(use, "industrial", (people + 0.2 * other > 0.65) & (works + 0.3 * luck > 0.65) & dry)
    return use


def _put(cover: NDArray[np.uint8], name: str, where: NDArray[np.bool_]) -> None:
    cover[where] = CODE[name]
