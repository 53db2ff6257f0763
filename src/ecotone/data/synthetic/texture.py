"""What each land cover is made of, point by point: crowns, rows, houses, streets, waves.

Every point holds two materials, the share of the second and a brightness. Pixels average their points, and a sensor
sees the average: mixing is linear, so colour is needed once per pixel, not once per point.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecotone.data.synthetic.cover import CODE, ROAD_M, Ground
from ecotone.data.synthetic.noise import Array, Grid, byte, hash32
from ecotone.data.synthetic.spectra import CROPS, ID, flowering, green

Index = NDArray[np.int64]


@dataclass
class Skin:
    """The visible surface on N points.

    Attributes:
        first: (N,) material.
        second: (N,) material.
        share: (N,) share of the second one.
        light: (N,) brightness around 1.
    """

    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    share: Array
    light: Array

    def put(
        self,
        at: Index | NDArray[np.bool_],
        first: str | NDArray[Any],
        second: str | NDArray[Any],
        share: ArrayLike,
        light: ArrayLike,
    ) -> None:
        """Cover the points ``at``; materials are names or ids."""
        self.first[at] = ID[first] if isinstance(first, str) else first
        self.second[at] = ID[second] if isinstance(second, str) else second
        self.share[at] = share
        self.light[at] = light


@dataclass
class Painter:
    """Paints the classes of a ground on one day.

    Attributes:
        ground: What lies where.
        day: The date, which decides the green of the plants.
        pitch: Metres between the points: details that they cannot resolve are left out.
    """

    ground: Ground
    day: date
    pitch: float
    skin: Skin = field(init=False)

    def __post_init__(self) -> None:
        n = self.ground.cover.size
        self.skin = Skin(np.zeros(n, np.uint8), np.zeros(n, np.uint8), np.zeros(n, np.float32), np.ones(n, np.float32))
        g, lay = self.ground, self.ground.layout
        self.u, self.v, self.parcel, self.edge = lay.u.ravel(), lay.v.ravel(), lay.parcel.ravel(), lay.edge.ravel()
        self.along, self.across = lay.along.ravel(), lay.across.ravel()
        self.rough, self.patchy, self.broad = g.rough.ravel(), g.patchy.ravel(), g.broad.ravel()
        self.shore, self.wet, self.road = g.shore.ravel(), g.wet.ravel(), lay.road.ravel()
        self.su, self.sv = lay.shadow_u.ravel(), lay.shadow_v.ravel()

    def paint(self) -> Skin:
        """The surface of every point, in the order of the flattened grid."""
        cover = self.ground.cover.ravel()
        for name, code in CODE.items():
            at = np.flatnonzero(cover == code)
            if len(at):
                getattr(self, f"_{name}")(at)
        if self.pitch < 1.5:
            grain = Grid(self.ground.xs, self.ground.ys).noise(2.6, 64)
            self.skin.light *= np.clip(1 + 0.045 * grain.ravel(), 0.8, 1.2)
        return self.skin

    def _traits(self, salt: int) -> NDArray[np.uint32]:
        return hash32(self.ground.layout.identity, 0, salt)

    def _water(self, at: Index) -> None:
        silt = np.clip(0.35 + 0.012 * self.shore[at] + 0.12 * self.broad[at], 0, 1)
        self.skin.put(at, "water", "silty water", silt, 1 + 0.03 * self.patchy[at] + 0.03 * self.rough[at])

    def _forest(self, at: Index) -> None:
        conifers = np.clip(
            0.45 + 0.35 * self.broad[at] + 0.9 * (byte(self._traits(51), 0) - 0.5)[self.parcel[at]], 0, 1
        )
        self._trees(at, conifers, 9.0)

    def _trees(self, at: Index, conifers: Array, crown: float) -> None:
        """Closed canopy: two layers of crowns, the higher one seen; gaps are dark."""
        top, light = np.full(len(at), -0.15, np.float32), np.full(len(at), 0.45, np.float32)
        bits = np.zeros(len(at), np.uint32)
        bend = 0.2 * self.rough[at]
        for layer in (0, 1):
            # Layers of unlike spacing, bent by noise, hide the lattice that the crowns stand on.
            height, shade, layer_bits = self._crowns(at, crown * 1.27**layer, 61 + layer, bend, bend * (2 * layer - 1))
            higher = height > top
            np.copyto(top, height, where=higher)
            np.copyto(light, shade, where=higher)
            np.copyto(bits, layer_bits, where=higher)
        light *= 0.94 + 0.07 * self.patchy[at] + 0.03 * self.rough[at]
        needles = byte(bits, 3) < conifers
        leaf = green("broadleaf", self.day) * (0.85 + 0.3 * byte(bits, 2))
        self.skin.put(at, "twigs", "broadleaf", np.minimum(leaf, 1), light)
        self.skin.put(at[needles], "conifer", "conifer", 0, light[needles])

    def _crowns(
        self, at: Index, spacing: float, salt: int, shift_u: Array | float = 0.0, shift_v: Array | float = 0.0
    ) -> tuple[Array, Array, NDArray[np.uint32]]:
        """One crown per cell: height above the canopy floor, light on it, and the crown's random bits."""
        u, v = self.u[at] / spacing + shift_u, self.v[at] / spacing + shift_v
        iu, iv = np.floor(u), np.floor(v)
        bits = hash32(iu.astype(np.int64), iv.astype(np.int64), salt)
        radius = 0.34 + 0.16 * byte(bits, 2)
        du = u - iu - (0.4 + 0.2 * byte(bits, 0))
        dv = v - iv - (0.4 + 0.2 * byte(bits, 1))
        near = (du * du + dv * dv) / (radius * radius)
        away = du * self.su[at] + dv * self.sv[at]
        return radius * 2 * (1 - near), np.clip(1.08 - 0.3 * near - 0.8 * away, 0.4, 1.5), bits

    def _grassland(self, at: Index) -> None:
        traits = self._traits(52)[self.parcel[at]]
        share = green("grass", self.day) * (0.72 + 0.45 * byte(traits, 0))
        share = share + 0.09 * self.patchy[at] + 0.04 * self.rough[at] + 0.07 * self.broad[at]
        light = 0.9 + 0.2 * byte(traits, 1) + 0.03 * self.rough[at]
        self.skin.put(at, "straw", "grass", np.clip(share, 0, 1), light)
        self._scattered(at, 14.0, 0.05 + 0.25 * byte(traits, 2) ** 4)
        self._hedges(at)

    def _scattered(self, at: Index, spacing: float, chance: Array) -> None:
        """Single trees and bushes with their shadows."""
        height, light, bits = self._crowns(at, spacing, 63)
        stands = byte(bits, 3) < chance
        cast, _, cast_bits = self._crowns(at, spacing, 63, -0.2 * self.su[at], -0.2 * self.sv[at])
        shaded = (cast > 0.2) & (byte(cast_bits, 3) < chance)
        self.skin.light[at[shaded]] *= 0.5
        crown = at[stands & (height > 0.3)]
        leaf = green("broadleaf", self.day)
        self.skin.put(crown, "twigs", "broadleaf", leaf, light[stands & (height > 0.3)])

    def _hedges(self, at: Index) -> None:
        """Tree rows on some parcel borders, a grass margin on the others."""
        kind = byte(self._traits(53), 0)[self.parcel[at]]
        rim = at[(self.edge[at] < 5) & (kind < 0.35)]
        if len(rim):
            self._trees(rim, np.zeros(len(rim), np.float32), 7.0)
        rim = at[(self.edge[at] < 2.2) & (kind >= 0.35)]
        self.skin.put(rim, "straw", "grass", 0.8 * green("grass", self.day), 0.95)

    def _cropland(self, at: Index) -> None:
        parcel, traits = self.parcel[at], self._traits(54)
        kind = (byte(traits, 0) * len(CROPS)).astype(np.int64)
        cover = np.array([green(c, self.day) for c in CROPS], np.float32)[kind]
        # Farmers do not all sow on one day: stands differ by parcel, and by soil inside a parcel.
        vigour = (0.6 + 0.55 * byte(traits, 1))[parcel] * (1 + 0.1 * self.broad[at] + 0.05 * self.patchy[at])
        share = cover[parcel] * vigour
        stubble = np.array([(c in ("winter cereal", "rapeseed", "fallow")) for c in CROPS])[kind] & (self._month(6, 9))
        dark = byte(traits, 2) < 0.45
        ground = np.where(stubble, ID["straw"], np.where(dark, ID["dark soil"], ID["soil"])).astype(np.uint8)[parcel]
        plant = np.where(kind == CROPS.index("ley"), ID["grass"], ID["crop"]).astype(np.uint8)[parcel]
        light = (0.82 + 0.36 * byte(traits, 3))[parcel] * (1 + 0.03 * self.rough[at] + 0.04 * self.patchy[at])
        share = self._rows(at, np.clip(share, 0, 1), light)
        self.skin.put(at, ground, plant, share, light)
        bloom = flowering(self.day)
        if bloom > 0.02:
            rape = (kind == CROPS.index("rapeseed"))[parcel]
            self.skin.put(at[rape], "crop", "flowers", bloom * share[rape], light[rape])
        self._hedges(at)

    def _month(self, first: int, last: int) -> bool:
        return first < self.day.month <= last

    def _rows(self, at: Index, share: Array, light: Array) -> Array:
        """Tramlines every 18 to 27 m, and drill rows where the points resolve them."""
        bits = self._traits(55)
        turned = byte(bits, 0)[self.parcel[at]] < 0.5
        across = np.where(turned, self.along[at], self.across[at])
        width = (18 + 9 * byte(bits, 1))[self.parcel[at]]
        wheel = 3.2 / width  # what the points cannot resolve still darkens the mean
        if self.pitch < 4:
            wheel = np.abs(across - width * np.floor(across / width) - width / 2) < 1.6
        light *= 1 - np.float32(0.14) * wheel
        share = share * (1 - np.float32(0.4) * wheel)
        if self.pitch < 0.7:
            row = (1.5 + 1.5 * byte(bits, 2))[self.parcel[at]]
            wave = np.sin(across * (2 * np.pi / row))
            light *= 1 + np.float32(0.07) * wave
            share = share * (1 + 0.22 * wave)
        return np.clip(share, 0, 1).astype(np.float32)

    def _orchard(self, at: Index) -> None:
        """Round crowns on a grid, or vines in rows, over grass or bare soil."""
        parcel, traits = self.parcel[at], self._traits(56)
        row = (5.5 + 3.5 * byte(traits, 0))[parcel]
        vines = (byte(traits, 1) < 0.35)[parcel]
        turned = (byte(traits, 2) < 0.5)[parcel]
        a = np.where(turned, self.along[at], self.across[at])
        b = np.where(turned, self.across[at], self.along[at])
        da = (a / row - np.floor(a / row) - 0.5) * row
        step = 0.8 * row
        db = np.where(vines, 0, (b / step - np.floor(b / step) - 0.5) * step)
        size = np.where(vines, 1.3, 0.36 * row)
        inside = np.hypot(da, db) < size
        sa, sb = np.where(turned, self.su[at], self.sv[at]), np.where(turned, self.sv[at], self.su[at])
        shade = np.hypot(da - 1.3 * sa, np.where(vines, 0, db - 1.3 * sb)) < size
        bare = (byte(traits, 3) < 0.4)[parcel]
        under = np.where(bare, 0.15, 0.85 * green("grass", self.day)) + 0.05 * self.patchy[at]
        light = (0.9 + 0.1 * self.rough[at] * 0.4) * np.where(shade, 0.6, 1)
        self.skin.put(at, np.where(bare, ID["soil"], ID["straw"]), "grass", np.clip(under, 0, 1), light)
        leaf = np.clip(green("broadleaf", self.day) + 0.05 * self.patchy[at[inside]], 0, 1)
        self.skin.put(at[inside], "twigs", "broadleaf", leaf, (1 - 0.4 * (da * sa + db * sb) / row)[inside])
        self._hedges(at)

    def _residential(self, at: Index) -> None:
        """Rows of lots between streets: a house in every lot, a garden around it."""
        traits = self._traits(57)[self.parcel[at]]
        wide, deep = 17 + 10 * byte(traits, 0), 24 + 10 * byte(traits, 1)
        block = 2 * deep + 8  # two lots back to back, and a street of 8 m
        q = self.across[at]
        row = np.floor(q / block)
        q = q - row * block - 8
        street = (q < 0) | (self.edge[at] < 4.5)
        back = q > deep
        face = np.where(back, -1, 1)
        q = np.where(back, 2 * deep - q, q)  # metres from the street the lot faces
        lot = np.floor(self.along[at] / wide)
        p = self.along[at] - lot * wide - wide / 2
        bits = hash32(lot.astype(np.int64), (row * 2 + back).astype(np.int64) + self.parcel_bits(at), 58)
        half_p, half_q = wide * (0.22 + 0.16 * byte(bits, 0)), deep * (0.16 + 0.1 * byte(bits, 1))
        middle = 5 + half_q + 4 * byte(bits, 2)
        self._gardens(at, traits)
        self._boxes(
            at, p, face * (q - middle), half_p, half_q, bits, 3.5, ("red roof", "grey roof", "red roof", "dark soil")
        )
        self.skin.put(at[street], "asphalt", "soil", 0.12, 1 + 0.05 * self.rough[at[street]])

    def parcel_bits(self, at: Index) -> NDArray[np.int64]:
        return self.ground.layout.identity[self.parcel[at]].astype(np.int64)

    def _gardens(self, at: Index, traits: NDArray[np.uint32]) -> None:
        share = np.clip(green("grass", self.day) * 0.85 + 0.14 * self.rough[at] + 0.08 * self.patchy[at], 0, 1)
        self.skin.put(at, "soil", "grass", share, 0.95 + 0.04 * self.rough[at])
        self._scattered(at, 10.0, 0.15 + 0.35 * byte(traits, 3))

    def _boxes(
        self, at: Index, p: Array, q: Array, half_p: Array, half_q: Array, bits: NDArray[np.uint32], cast: float,
        roofs: tuple[str, ...],
    ) -> None:  # fmt: skip
        """Buildings of this half width and depth around (p, q) = 0, with a shadow and a lit and a dim side."""
        sp, sq = cast * self.su[at], cast * self.sv[at]
        shade = (np.abs(p - sp) < half_p) & (np.abs(q - sq) < half_q)
        self.skin.light[at[shade]] *= 0.5
        roof = (np.abs(p) < half_p) & (np.abs(q) < half_q)
        kinds = np.array([ID[r] for r in roofs], np.uint8)[(byte(bits, 3)[roof] * len(roofs)).astype(np.int64)]
        light = 0.85 + 0.3 * byte(bits, 2)[roof] + np.where(q[roof] * sq[roof] > 0, -0.13, 0.08)
        self.skin.put(at[roof], kinds, kinds, 0, light)

    def _industrial(self, at: Index) -> None:
        """Halls of up to 80 m on asphalt and gravel yards."""
        traits = self._traits(59)[self.parcel[at]]
        wide, deep = 62 + 46 * byte(traits, 0), 48 + 34 * byte(traits, 1)
        i, j = np.floor(self.along[at] / wide), np.floor(self.across[at] / deep)
        p, q = self.along[at] - (i + 0.5) * wide, self.across[at] - (j + 0.5) * deep
        bits = hash32(i.astype(np.int64), j.astype(np.int64) + self.parcel_bits(at), 60)
        yard = np.clip(0.2 + 0.5 * byte(bits, 3) + 0.1 * self.patchy[at], 0, 1)
        self.skin.put(at, "asphalt", "soil", yard, 1 + 0.05 * self.rough[at])
        lawn = at[(self.edge[at] < 16) & (self.edge[at] > 5)]
        self.skin.put(lawn, "soil", "grass", 0.75 * green("grass", self.day), 0.95)
        half_p, half_q = wide * (0.27 + 0.14 * byte(bits, 0)), deep * (0.24 + 0.14 * byte(bits, 1))
        self._boxes(at, p, q, half_p, half_q, bits, 5.0, ("bright roof", "grey roof", "asphalt", "rock", "red roof"))
        street = at[self.edge[at] <= 5]
        self.skin.put(street, "asphalt", "soil", 0.1, 1)

    def _road(self, at: Index) -> None:
        line = 1 + 0.9 * (self.road[at] < 0.15)
        self.skin.put(at, "asphalt", "soil", 0.1 + 0.25 * (self.road[at] > ROAD_M - 1), line + 0.03 * self.rough[at])

    def _bare(self, at: Index) -> None:
        share = np.clip(0.55 + 0.35 * self.broad[at] + 0.15 * self.patchy[at], 0, 1)
        light = 0.88 + 0.09 * self.patchy[at] + 0.07 * self.rough[at] + 0.05 * self.broad[at]
        self.skin.put(at, "rock", "sand", share, light)
        scrub = at[self.patchy[at] + 0.7 * self.rough[at] > 1.7]
        self.skin.put(scrub, "soil", "grass", 0.6 * green("grass", self.day), 0.85)

    def _wetland(self, at: Index) -> None:
        """Reed beds with pools."""
        pool = self.patchy[at] + 0.6 * self.broad[at] + 0.35 * self.rough[at] + 0.25 * self.wet[at] > 1.75
        share = np.clip(green("reed", self.day) + 0.12 * self.patchy[at], 0, 1)
        light = 0.9 + 0.08 * self.rough[at] + 0.1 * self.broad[at]
        self.skin.put(at, "straw", "reed", share, light)
        self.skin.light[at] *= np.where(share < 0.5, 0.75, 1)  # standing water between dead stems
        self.skin.put(at[pool], "water", "silty water", 0.5, 1)
