"""Changes of the land cover between dates: a forest cleared, a river in flood, houses on a field."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from ecotone.data.synthetic.cover import CODE
from ecotone.data.synthetic.noise import Array

KINDS = ("clearing", "flood", "building")
EVENT_CODE = {kind: i + 1 for i, kind in enumerate(KINDS)}
# Kind -> the covers that it takes, and the one that it leaves. A flood takes everything but water.
_CHANGE = {
    "clearing": (("forest",), "bare"),
    "flood": (tuple(c for c in CODE if c != "water"), "water"),
    "building": (("cropland", "grassland", "orchard"), "residential"),
}
REACH_M = 700.0  # no event changes anything farther than this from its middle


@dataclass(frozen=True)
class Event:
    """One change of the land cover.

    Attributes:
        kind: One of KINDS.
        x: Metres east of its middle.
        y: Metres north of its middle.
        radius: Half its length in metres.
        angle: Direction of its long side, in radians.
        start: First day on which it is seen.
        end: First day on which it is over; None when it stays.
    """

    kind: str
    x: float
    y: float
    radius: float
    angle: float
    start: date
    end: date | None = None

    def seen(self, day: date) -> bool:
        """Whether the event shows on this day."""
        return self.start <= day and (self.end is None or day < self.end)

    def touches(self, west: float, south: float, east: float, north: float) -> bool:
        """Whether the event may change anything between these bounds in metres."""
        return west - REACH_M < self.x < east + REACH_M and south - REACH_M < self.y < north + REACH_M

    def takes(self, name: str) -> bool:
        """Whether the event changes this cover."""
        return name in _CHANGE[self.kind][0]

    def apply(self, cover: NDArray[np.uint8], xs: Array, ys: Array, shore: Array, rough: Array) -> None:
        """Change the cover (H, W) of the grid in place.

        Args:
            cover: Codes of the land-cover classes.
            xs: (W,) metres east of the points.
            ys: (H,) metres north of the points.
            shore: (H, W) metres to the nearest water.
            rough: (H, W) noise that roughens the outline.
        """
        if not self.touches(xs.min(), ys.min(), xs.max(), ys.max()):
            return
        dx, dy = (xs - self.x).astype(np.float32)[None, :], (ys - self.y).astype(np.float32)[:, None]
        taken, left = _CHANGE[self.kind]
        inside = np.isin(cover, [CODE[c] for c in taken]) & self._extent(dx, dy, shore, rough)
        cover[inside] = CODE[left]

    def _extent(self, dx: Array, dy: Array, shore: Array, rough: Array) -> NDArray[np.bool_]:
        if self.kind == "flood":
            # The water rises most near the middle and runs out along the bank.
            level = 230 * (1 - (dx * dx + dy * dy) / np.float32(self.radius**2))
            return shore + 5 * rough < level
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        a, b = np.abs(cos * dx + sin * dy), np.abs(cos * dy - sin * dx)
        ragged = 4 * rough if self.kind == "clearing" else 0 * rough
        return (a + ragged < self.radius) & (b + ragged < 0.6 * self.radius)
