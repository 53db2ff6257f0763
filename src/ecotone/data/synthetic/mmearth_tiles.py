"""One tile of the synthetic Earth in all modalities of MMEarth, as its HDF5 file stores them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecotone.data.catalog.mmearth_layout import (
    BIOMES,
    CANOPY_CLIPPED,
    CIRRUS,
    ECO_REGIONS,
    POLARISATIONS,
    SENTINEL2,
)
from ecotone.data.synthetic.cover import CLASSES, CODE
from ecotone.data.synthetic.noise import Array
from ecotone.data.synthetic.render import PixelGrid, draw
from ecotone.data.synthetic.sensing import View, see
from ecotone.data.synthetic.terrain import Patch
from ecotone.data.synthetic.world import World
from ecotone.sensors import sensor

GSD = 10.0
_PAD = 3  # pixels around a tile that its 60 m bands look at
_DAYS_PER_DEGREE = (
    3.0  # by which spring comes later to the north (Hopkins' law: four days; gentler, as autumn is early)
)
# What the maps of others would call the classes of the synthetic Earth.
_DYNAMIC_WORLD = {
    "water": 1, "forest": 2, "grassland": 3, "wetland": 4, "cropland": 5, "orchard": 6, "residential": 7,
    "industrial": 7, "road": 7, "bare": 8,
}  # fmt: skip
_WORLDCOVER = {
    "water": 80, "forest": 10, "grassland": 30, "wetland": 90, "cropland": 40, "orchard": 20, "residential": 50,
    "industrial": 50, "road": 50, "bare": 60,
}  # fmt: skip
_SCENE = {"water": 6, "residential": 5, "industrial": 5, "road": 5, "bare": 5}  # SCL; 4, vegetation, for the others
_HUES = ("water", "forest", "grassland", "cropland", "wetland", "bare", "residential")  # a biome by its commonest cover
Stored = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class TilePlan:
    """Where and when a tile is seen, and what of it is missing.

    Attributes:
        key: Tile id.
        x: Metres east of the world's origin, of the tile's middle.
        y: Metres north of it.
        lat: Degrees north.
        lon: Degrees east.
        block: Number of the square that the tile's split is decided by.
        day: Day of the Sentinel-2 image.
        level: ``l1c`` or ``l2a``.
        asc: Polarisations of the ascending pass.
        desc: Polarisations of the descending pass.
        gaps: Modalities that are missing, wholly (``canopy_height_eth``) or in a part (``canopy_height_eth part``).
    """

    key: str
    x: float
    y: float
    lat: float
    lon: float
    block: int
    day: date
    level: str
    asc: tuple[str, ...]
    desc: tuple[str, ...]
    gaps: frozenset[str]


def draw_tile(world: World, plan: TilePlan, size: int, luck: np.random.Generator) -> Stored:
    """All arrays of one tile, without the leading axis of the file.

    Args:
        world: The synthetic Earth.
        plan: Where, when, and what is missing.
        size: Pixels per side.
        luck: Decides the weather, and where parts are missing.
    """
    side = size + 2 * _PAD
    # The world has one calendar: in the north it is drawn as it looked some days before.
    season = plan.day - timedelta(days=round((plan.lat - 48) * _DAYS_PER_DEGREE))
    grid = PixelGrid(plan.x - side * GSD / 2, plan.y + side * GSD / 2, side, side, GSD)
    drawing = draw(world.seed, world.terrain, grid, season)
    view = View(world.seed, world.terrain, *grid.points(1), GSD, season)
    elevation, east, north, woods = Patch(world.terrain, view.xs, view.ys).on_grid(
        "elevation", "relief_x", "relief_y", "woods"
    )
    slope = np.degrees(np.arctan(np.hypot(east, north)))
    wide: Stored = {
        "sentinel2": _sentinel2(view, drawing.shares, plan.level),
        **_clouds(drawing.cover, plan.level, luck),
        "sentinel1": _sentinel1(world, grid, drawing.shares, plan),
        "aster": np.stack([elevation + 2 * view.gaussian(91), slope]).astype(np.int16),
        "dynamic_world": _recode(drawing.cover, _DYNAMIC_WORLD),
        "canopy_height_eth": _canopy(view, drawing.cover, woods),
        "esa_worldcover": _recode(drawing.cover, _WORLDCOVER),
    }
    tile = {name: np.ascontiguousarray(v[:, _PAD:-_PAD, _PAD:-_PAD]) for name, v in wide.items()}
    _open_gaps(tile, plan.gaps, luck)
    cover = drawing.cover[_PAD:-_PAD, _PAD:-_PAD]
    return tile | _vectors(plan, cover, float(elevation.mean()), luck)


def _sentinel2(view: View, shares: Array, level: str) -> NDArray[np.uint16]:
    """13 slots; B10 is empty in L2A. L1C looks through an atmosphere that scatters blue light."""
    target = sensor("sentinel2-l1c")
    seen = see(view, target, shares)
    nm = np.array([b.wavelength for b in target.bands], np.float32)
    cirrus = target.band_names.index(CIRRUS)
    if level == "l1c":
        seen = 0.93 * seen + 1e4 * (0.11 * (443 / nm) ** 4)[:, None, None]
        seen[cirrus] = 14 + 3 * view.gaussian(92)
    else:
        seen[cirrus] = 0
    stored = np.clip(np.rint(seen), 0 if level == "l2a" else 1, 65535).astype(np.uint16)
    return stored[[target.band_names.index(band) for band in SENTINEL2]]


def _clouds(cover: NDArray[np.uint8], level: str, luck: np.random.Generator) -> Stored:
    """The three cloud layers: no clouds, and no product at all where the level has none."""
    shape = (1, *cover.shape)
    scene = _recode(cover, dict.fromkeys(CLASSES, 4) | _SCENE)
    probability = luck.integers(0, 6, shape) if level == "l2a" else np.full(shape, 65535)
    return {
        "sentinel2_cloudmask": np.zeros(shape, np.uint16),
        "sentinel2_cloudprod": probability.astype(np.uint16),
        "sentinel2_scl": scene if level == "l2a" else np.full(shape, 255, np.uint8),
    }


def _sentinel1(world: World, grid: PixelGrid, shares: Array, plan: TilePlan) -> NDArray[np.float32]:
    """Eight channels in dB, -inf where not acquired. The passes are some days apart: their speckle differs."""
    out = np.full((8, grid.height, grid.width), -np.inf, np.float32)
    for first, have, days in ((0, plan.asc, 2), (4, plan.desc, -3)):
        view = View(world.seed, world.terrain, *grid.points(1), GSD, plan.day + timedelta(days=days))
        like, cross = see(view, sensor("sentinel1-grd"), shares)
        seen = {"VV": like, "VH": cross, "HH": like + 1, "HV": cross}
        for polarisation in have:
            out[first + POLARISATIONS.index(polarisation)] = seen[polarisation]
    return out


def _recode(cover: NDArray[np.uint8], codes: dict[str, int]) -> NDArray[np.uint8]:
    return np.array([0, *(codes[name] for name in CLASSES)], np.uint8)[cover][None]


def _canopy(view: View, cover: NDArray[np.uint8], woods: Array) -> NDArray[np.int8]:
    """Height in m and its standard deviation: woods deep inside are the tallest."""
    forest, orchard = cover == CODE["forest"], cover == CODE["orchard"]
    tall = np.clip(12 + 6 * np.clip(woods, 0, 3) + 1.5 * view.gaussian(93), 2, 50)
    height = np.where(forest, tall, np.where(orchard, 4.0, 0.0))
    return np.stack([height, 2 + 0.2 * height]).astype(np.int8)


def _open_gaps(tile: Stored, gaps: frozenset[str], luck: np.random.Generator) -> None:
    """Write the no-data values of the official files where modalities are missing."""
    nothing = {"sentinel2": 0, "dynamic_world": 0, "esa_worldcover": 0, "canopy_height_eth": CANOPY_CLIPPED}
    size = tile["sentinel2"].shape[-1]
    for name, value in nothing.items():
        corner = np.s_[..., : int(size * luck.uniform(0.2, 0.6)), : int(size * luck.uniform(0.2, 0.9))]
        if name in gaps:
            tile[name][:] = value
        elif f"{name} part" in gaps:
            tile[name][corner] = value


def _vectors(plan: TilePlan, cover: NDArray[np.uint8], elevation: float, luck: np.random.Generator) -> Stored:
    lat, lon, month = np.radians(plan.lat), np.radians(plan.lon), 2 * np.pi * plan.day.month / 12
    counts = np.bincount(cover.ravel(), minlength=len(CLASSES) + 1)
    commonest = int(np.argmax([counts[CODE[name]] for name in _HUES]))
    biome = 2 * commonest + (elevation > 250)
    region = biome * (ECO_REGIONS // BIOMES) + plan.block % (ECO_REGIONS // BIOMES)
    return {
        "era5": _weather(plan, elevation, luck),
        "lat": np.array([np.sin(lat), np.cos(lat)], np.float32),
        "lon": np.array([np.sin(lon), np.cos(lon)], np.float32),
        "biome": np.eye(BIOMES, dtype=np.uint8)[biome],
        "eco_region": np.eye(ECO_REGIONS, dtype=np.uint16)[region],
        "month": np.array([np.sin(month), np.cos(month)], np.float32),
    }


def _weather(plan: TilePlan, elevation: float, luck: np.random.Generator) -> NDArray[np.float32]:
    """Last month, this month and the year: mean, lowest and highest temperature in K, and precipitation in m."""
    base = 284 - 0.7 * (plan.lat - 48) - 0.0065 * elevation + luck.normal(0, 0.8)
    swing = 9 + 0.15 * (plan.lat - 48)
    rain = 0.06 + 6e-5 * elevation
    rows = []
    for back in (30, 0):
        phase = (plan.day - timedelta(days=back)).timetuple().tm_yday / 365.25
        mean = base - swing * np.cos(2 * np.pi * (phase - 0.06)) + luck.normal(0, 1)
        rows.append([mean, mean - 6 - luck.uniform(0, 3), mean + 6 + luck.uniform(0, 3), rain * luck.gamma(4, 0.25)])
    rows.append([base, base - swing - 9, base + swing + 9, 12 * rain * luck.gamma(30, 1 / 30)])
    weather = np.array(rows, np.float32).ravel()
    if "era5" in plan.gaps:
        weather[:4] = np.nan
    return weather
