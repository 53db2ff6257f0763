"""World: the synthetic Earth, a function of position that can be drawn in any window, at any GSD, by any sensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache

import numpy as np
import torch
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer

from ecotone.data.synthetic.cover import CLASSES, Ground, survey
from ecotone.data.synthetic.events import EVENT_CODE, KINDS, REACH_M, Event
from ecotone.data.synthetic.noise import Array, byte, hash32, uniform
from ecotone.data.synthetic.render import PixelGrid, draw
from ecotone.data.synthetic.sensing import View, see
from ecotone.data.synthetic.terrain import Terrain
from ecotone.errors import DataError, nearest
from ecotone.samples import Image, Place
from ecotone.sensors import Sensor
from ecotone.sensors import sensor as find_sensor

CRS = "EPSG:32632"
EASTING, NORTHING = 500_000.0, 5_350_000.0  # UTM coordinates of the world's origin
_CELL_M = 1600.0  # one candidate per kind of event in each cell


@dataclass(frozen=True)
class SyntheticScene:
    """A drawn window of the synthetic Earth.

    Attributes:
        image: The sensor's pixels (1, C, H, W).
        land_cover: (H, W) uint8 codes: 0 no data, then CLASSES from 1.
        change: (H, W) uint8 codes of the events that changed the cover here (EVENT_CODE), 0 where none did.
        crs: Coordinate reference system.
        transform: Pixel to CRS coordinates.
        place: Longitude, latitude and bounds.
        day: The date.
        seed: Seed of the world.
    """

    image: Image
    land_cover: NDArray[np.uint8]
    change: NDArray[np.uint8]
    crs: str
    transform: Affine
    place: Place
    day: date
    seed: int


class World:
    """A synthetic Earth. Two worlds of one seed are equal everywhere.

    Positions are metres east and north of an origin in Germany's UTM zone 32; a window is named by its north-west
    corner. Windows on one pixel grid match without a seam.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.terrain = Terrain(seed)

    def scene(
        self,
        origin: tuple[float, float],
        size: tuple[int, int] | int,
        *,
        gsd: float = 10.0,
        sensor: str | Sensor = "sentinel2-l2a",
        day: date = date(2021, 7, 1),
        events: Sequence[Event] = (),
        progress: Callable[[int, int], None] | None = None,
    ) -> SyntheticScene:
        """Draw a window.

        Args:
            origin: Metres east and north of the window's north-west corner.
            size: Height and width in pixels, or both in one number.
            gsd: Metres per pixel.
            sensor: Name of a sensor: reflectance, ``rgb``, Sentinel-1 or ``dem``.
            day: Date: season, sun and haze depend on it.
            events: Changes; those that are seen on this day are drawn.
            progress: Called with the number of rows drawn so far, and of all.

        Raises:
            DataError: Size or GSD is not above zero.
            SensorError: The sensor is unknown or sees nothing that the synthetic Earth has.
        """
        target = find_sensor(sensor)
        h, w = (size, size) if isinstance(size, int) else size
        if min(h, w) < 1 or not gsd > 0:
            raise DataError("a scene needs a size and a GSD above zero", found=f"{h} x {w} pixels of {gsd} m")
        pad = _padding(target, gsd)
        grid = PixelGrid(origin[0] - pad * gsd, origin[1] + pad * gsd, h + 2 * pad, w + 2 * pad, gsd)
        happened = tuple(e for e in events if e.seen(day))
        drawing = draw(self.seed, self.terrain, grid, day, happened, progress)
        view = View(self.seed, self.terrain, *grid.points(1), gsd, day)
        pixels = see(view, target, drawing.shares)
        inner = np.s_[..., pad : pad + h, pad : pad + w]
        transform = Affine(gsd, 0, EASTING + origin[0], 0, -gsd, NORTHING + origin[1])
        return SyntheticScene(
            image=_image(pixels[inner], target, gsd, day),
            land_cover=np.ascontiguousarray(drawing.cover[inner]),
            change=np.ascontiguousarray(drawing.change[inner]),
            crs=CRS,
            transform=transform,
            place=_place(transform, h, w),
            day=day,
            seed=self.seed,
        )

    def ground(self, xs: Array, ys: Array, events: tuple[Event, ...] = ()) -> Ground:
        """What lies at the points of a grid, given in metres east (W,) and north (H,)."""
        return survey(self.seed, self.terrain, xs, ys, events)

    def events(
        self,
        origin: tuple[float, float],
        size: tuple[int, int] | int,
        *,
        gsd: float = 10.0,
        kinds: Iterable[str] = KINDS,
        start: date,
        end: date,
    ) -> tuple[Event, ...]:
        """The events of these kinds that begin between two dates and may touch a window.

        They are a function of seed, position and dates: windows side by side get the same ones.

        Raises:
            DataError: Unknown kind, or the dates are not in order.
        """
        for kind in kinds:
            if kind not in KINDS:
                raise DataError(f"unknown kind of event {kind!r}", mend=nearest(kind, KINDS))
        if not start < end:
            raise DataError("events need two dates in order", found=f"{start} and {end}")
        h, w = (size, size) if isinstance(size, int) else size
        west, north = origin
        east, south = west + w * gsd, north - h * gsd
        cells = [
            (ix, iy)
            for ix in range(int((west - REACH_M) // _CELL_M), int((east + REACH_M) // _CELL_M) + 1)
            for iy in range(int((south - REACH_M) // _CELL_M), int((north + REACH_M) // _CELL_M) + 1)
        ]
        found = (self._event(kind, ix, iy, start, end) for kind in kinds for ix, iy in cells)
        return tuple(e for e in found if e is not None and e.touches(west, south, east, north))

    def _event(self, kind: str, ix: int, iy: int, start: date, end: date) -> Event | None:
        """The event of this kind in a cell: the first of eight places where the land allows it."""
        for attempt in range(8):
            salt = self.seed * 1009 + 100 * EVENT_CODE[kind] + attempt
            bits = hash32(np.array([ix]), iy, salt)
            a, b, c, d = (float(byte(bits, k)[0]) for k in range(4))
            x, y = (ix + a) * _CELL_M, (iy + b) * _CELL_M
            ground = self.ground(np.array([x]), np.array([y]))
            event = Event(kind, x, y, 120 + 230 * c, d * np.pi, *_dates(kind, a, b, start, end))
            if kind == "flood":
                event = Event(kind, x, y, 400 + 280 * c, 0.0, event.start, event.end)
            near_water = kind != "flood" or ground.shore[0, 0] < 120
            if near_water and event.takes(CLASSES[ground.cover[0, 0] - 1]):
                return event
        return None

    def varied_place(self, extent: float, attempts: int = 24) -> tuple[float, float]:
        """The north-west corner of the most varied of some seeded windows of this many metres."""
        best, place = -1.0, (0.0, 0.0)
        for k in range(attempts):
            x, y = (float(np.round(v * 1000) * 60) for v in uniform(np.array([k, k]), np.array([0, 1]), self.seed + 7))
            steps = (np.arange(20) + 0.5) / 20 * extent
            shares = np.bincount(self.ground(x + steps, y - steps).cover.ravel(), minlength=11) / 400
            variety = float(-(shares * np.log(shares + 1e-9)).sum())
            best, place = max((best, place), (variety, (x, y)))
        return place


def _dates(kind: str, a: float, b: float, start: date, end: date) -> tuple[date, date | None]:
    """First and last day. A flood is seen on the last date; the other changes come at any time and stay."""
    days = (end - start).days
    if kind == "flood":
        return end - timedelta(days=int(min(20, days - 1) * a)), end + timedelta(days=1 + int(20 * b))
    return start + timedelta(days=1 + int((days - 1) * (a + b) / 2)), None


def _padding(target: Sensor, gsd: float) -> int:
    """Pixels around the window that its coarser bands look at."""
    if target.physical_unit.quantity != "reflectance":
        return 0
    return max(int(np.ceil((b.gsd or 0) / gsd / 2 - 0.5)) if (b.gsd or 0) > gsd else 0 for b in target.bands)


def _image(pixels: Array, target: Sensor, gsd: float, day: date) -> Image:
    unit = target.physical_unit
    if unit.name == "uint8":
        stored = np.rint(pixels).astype(np.uint8)
    elif unit.quantity == "reflectance" and unit.scale != 1:
        stored = np.clip(np.rint(pixels), 0, 65535).astype(np.uint16)
    else:
        stored = pixels.astype(np.float32)
    return Image(
        pixels=torch.from_numpy(np.ascontiguousarray(stored)[None]),
        bands=target.band_names,
        unit=unit,
        gsd=gsd,
        sensor=target.name,
        times=(datetime(day.year, day.month, day.day, 10, 30),),
        level=target.level,
    )


@cache
def to_degrees() -> Transformer:
    """From metres of the world to longitude and latitude."""
    return Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)


def _place(transform: Affine, h: int, w: int) -> Place:
    west, north = transform.c, transform.f
    east, south = west + w * transform.a, north + h * transform.e
    lon, lat = to_degrees().transform((west + east) / 2, (south + north) / 2)
    return Place(lon=lon, lat=lat, crs=CRS, bounds=(west, south, east, north))
