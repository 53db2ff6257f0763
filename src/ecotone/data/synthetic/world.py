"""World: the synthetic Earth, a function of position that can be drawn in any window, at any GSD, by any sensor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import torch
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer

from ecotone.data.synthetic.cover import CLASSES, Ground, survey
from ecotone.data.synthetic.events import EVENT_CODE, KINDS, REACH_M, Event
from ecotone.data.synthetic.noise import Array, byte, hash32, uniform
from ecotone.data.synthetic.sensing import View, see
from ecotone.data.synthetic.spectra import MATERIALS
from ecotone.data.synthetic.terrain import Terrain
from ecotone.data.synthetic.texture import Painter
from ecotone.errors import DataError, nearest
from ecotone.samples import Image, Place
from ecotone.sensors import Sensor, sensor

CRS = "EPSG:32632"
EASTING, NORTHING = 500_000.0, 5_350_000.0  # UTM coordinates of the world's origin
_TILE = 128  # pixels that are drawn at a time
_CELL_M = 1600.0  # one candidate per kind of event in each cell
_FINEST_M = 3.34  # pitch of the points inside a pixel, where at most MAX_POINTS per side reach it
MAX_POINTS = 8


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
    ) -> SyntheticScene:
        """Draw a window.

        Args:
            origin: Metres east and north of the window's north-west corner.
            size: Height and width in pixels, or both in one number.
            gsd: Metres per pixel.
            sensor: Name of a sensor: reflectance, ``rgb``, Sentinel-1 or ``dem``.
            day: Date: season, sun and haze depend on it.
            events: Changes; those that are seen on this day are drawn.

        Raises:
            DataError: Size or GSD is not above zero.
            SensorError: The sensor is unknown or sees nothing that the synthetic Earth has.
        """
        target = _sensor(sensor)
        h, w = (size, size) if isinstance(size, int) else size
        if min(h, w) < 1 or not gsd > 0:
            raise DataError("a scene needs a size and a GSD above zero", found=f"{h} x {w} pixels of {gsd} m")
        pad = _padding(target, gsd)
        x0, y0 = origin[0] - pad * gsd, origin[1] + pad * gsd
        happened = tuple(e for e in events if e.seen(day))
        shares, cover, change = self._draw(x0, y0, h + 2 * pad, w + 2 * pad, gsd, day, happened)
        xs = x0 + (np.arange(w + 2 * pad) + 0.5) * gsd
        ys = y0 - (np.arange(h + 2 * pad) + 0.5) * gsd
        pixels = see(View(self.seed, self.terrain, xs, ys, gsd, day), target, shares)
        inner = np.s_[..., pad : pad + h, pad : pad + w]
        transform = Affine(gsd, 0, EASTING + origin[0], 0, -gsd, NORTHING + origin[1])
        return SyntheticScene(
            image=_image(pixels[inner], target, gsd, day),
            land_cover=np.ascontiguousarray(cover[inner]),
            change=np.ascontiguousarray(change[inner]),
            crs=CRS,
            transform=transform,
            place=_place(transform, h, w),
            day=day,
            seed=self.seed,
        )

    def ground(self, xs: NDArray[np.float64], ys: NDArray[np.float64], events: tuple[Event, ...] = ()) -> Ground:
        """What lies at the points of a grid, given in metres east (W,) and north (H,)."""
        return survey(self.seed, self.terrain, xs, ys, events)

    def _draw(
        self, x0: float, y0: float, h: int, w: int, gsd: float, day: date, events: tuple[Event, ...]
    ) -> tuple[Array, NDArray[np.uint8], NDArray[np.uint8]]:
        """Material shares (H, W, K), land cover and change (H, W), tile by tile."""
        shares = np.empty((h, w, len(MATERIALS)), np.float32)
        cover, change = np.empty((h, w), np.uint8), np.zeros((h, w), np.uint8)
        n = points_per_side(gsd)
        for top in range(0, h, _TILE):
            for left in range(0, w, _TILE):
                rows, columns = min(_TILE, h - top), min(_TILE, w - left)
                box = np.s_[top : top + rows, left : left + columns]
                xs = x0 + left * gsd + (np.arange(columns * n) + 0.5) * (gsd / n)
                ys = y0 - top * gsd - (np.arange(rows * n) + 0.5) * (gsd / n)
                ground = self.ground(xs, ys, events)
                pixel = (np.arange(rows * n)[:, None] // n * columns + np.arange(columns * n) // n).ravel()
                shares[box] = _mix(ground, day, gsd / n, pixel, rows * columns).reshape(rows, columns, -1) / n**2
                cover[box] = _majority(ground.cover, pixel, (rows, columns))
                if events:
                    kinds = self._kinds(xs, ys, ground, events)
                    changed = cover[box] != _majority(ground.before, pixel, (rows, columns))
                    change[box] = np.where(changed, _majority(kinds, pixel, (rows, columns), ignore=0), 0)
        return shares, cover, change

    def _kinds(
        self, xs: NDArray[np.float64], ys: NDArray[np.float64], ground: Ground, events: tuple[Event, ...]
    ) -> NDArray[np.uint8]:
        """(H, W) code of the last event that changed each point."""
        kinds = np.zeros(ground.cover.shape, np.uint8)
        now = ground.before.copy()
        for event in events:
            last = now.copy()
            event.apply(now, xs, ys, ground.shore, ground.rough)
            kinds[now != last] = EVENT_CODE[event.kind]
        return kinds

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

    def varied_place(self, extent: float, attempts: int = 64) -> tuple[float, float]:
        """The north-west corner of the most varied of some seeded windows of this many metres."""
        best, place = -1.0, (0.0, 0.0)
        for k in range(attempts):
            x, y = (float(np.round(v * 1000) * 60) for v in uniform(np.array([k, k]), np.array([0, 1]), self.seed + 7))
            steps = (np.arange(20) + 0.5) / 20 * extent
            shares = np.bincount(self.ground(x + steps, y - steps).cover.ravel(), minlength=11) / 400
            variety = float(-(shares * np.log(shares + 1e-9)).sum())
            best, place = max((best, place), (variety, (x, y)))
        return place


def points_per_side(gsd: float) -> int:
    """How many points a pixel of this GSD averages per side: 2 in fine pixels, 3 at 10 m, at most MAX_POINTS."""
    return int(np.clip(np.ceil(gsd / _FINEST_M), 2, MAX_POINTS))


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


def _dates(kind: str, a: float, b: float, start: date, end: date) -> tuple[date, date | None]:
    """First and last day. A flood is seen on the last date; the other changes come at any time and stay."""
    days = (end - start).days
    if kind == "flood":
        return end - timedelta(days=int(min(20, days - 1) * a)), end + timedelta(days=1 + int(20 * b))
    return start + timedelta(days=1 + int((days - 1) * (a + b) / 2)), None


def _sensor(name: str | Sensor) -> Sensor:
    return sensor(name)


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


def _place(transform: Affine, h: int, w: int) -> Place:
    west, north = transform * (0, 0)
    east, south = transform * (w, h)
    lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform((west + east) / 2, (south + north) / 2)
    return Place(lon=lon, lat=lat, crs=CRS, bounds=(west, south, east, north))
