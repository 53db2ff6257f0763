"""From material shares to the numbers of a sensor: light, haze, noise, and bands coarser than the grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np

from ecotone.data.synthetic.noise import Array, Grid, byte, hash32
from ecotone.data.synthetic.spectra import ID, backscatter, reflectances, snow_line
from ecotone.data.synthetic.terrain import Patch, Terrain
from ecotone.errors import SensorError
from ecotone.sensors import Sensor

_SUN = (0.6, -0.8)  # east, north: where the sun stands at half past ten
_LOOKS = 4.9  # equivalent number of looks of a Sentinel-1 IW GRD pixel of 10 m (ESA product specification: 4.4 to 4.9)


@dataclass(frozen=True)
class View:
    """The pixel grid that a sensor sees on one day.

    Attributes:
        seed: Seed of the world.
        terrain: Smooth fields of the world.
        xs: (W,) metres east of the pixel middles.
        ys: (H,) metres north of the pixel middles.
        gsd: Metres per pixel.
        day: The date.
    """

    seed: int
    terrain: Terrain
    xs: Array
    ys: Array
    gsd: float
    day: date

    def gaussian(self, salt: int) -> Array:
        """(H, W) independent noise of standard deviation 1, a function of pixel, day and seed."""
        ix, iy = (np.floor(a / self.gsd).astype(np.int64) for a in (self.xs, self.ys))
        bits = hash32(ix[None, :], iy[:, None], self.seed * 1009 + self.day.toordinal() * 131 + salt)
        # The sum of four uniform numbers is close to a normal one.
        total = byte(bits, 0) + byte(bits, 1) + byte(bits, 2) + byte(bits, 3)
        return (total - np.float32(2 - 2 / 256)) * np.float32(3**0.5)

    def fate(self, salt: int) -> float:
        """One number in [0, 1) per day and seed."""
        return float(byte(hash32(np.array([self.day.toordinal()]), self.seed, salt), 0)[0])


def see(view: View, target: Sensor, shares: Array) -> Array:
    """What the sensor measures.

    Args:
        view: The pixel grid.
        target: An optical sensor in reflectance, ``rgb``, a C-band radar or a DEM.
        shares: (H, W, materials) light from each material.

    Returns:
        (C, H, W) float32 in the sensor's unit, not yet rounded.

    Raises:
        SensorError: The synthetic Earth cannot be seen by such a sensor.
    """
    quantity = target.physical_unit.quantity
    views: dict[str, Callable[[View, Sensor, Array], Array]] = {
        "reflectance": _reflectance,
        "display": _display,
        "backscatter": _backscatter,
        "elevation": _elevation,
    }
    lacking = {"reflectance": "wavelength", "backscatter": "polarisation"}.get(quantity, "name")
    if quantity not in views or any(getattr(b, lacking) is None for b in target.bands):
        raise SensorError(
            f"the synthetic Earth cannot be seen by {target.name}",
            found=f"unit {target.unit}, bands {', '.join(target.band_names)}",
            expected="reflectance bands with wavelengths, rgb, VV and VH backscatter, or elevation",
        )
    return views[quantity](view, target, shares)


def _optical(view: View, target: Sensor, shares: Array) -> Array:
    """(C, H, W) reflectance as a fraction, lit by the day's sun, through the day's haze."""
    patch = Patch(view.terrain, view.xs, view.ys)
    elevation, slope_x, slope_y = patch.on_grid("elevation", "relief_x", "relief_y")
    snow = np.clip((elevation - snow_line(view.day)) / 120 + 0.15 * view.gaussian(1), 0, 0.95)[..., None]
    lit = shares * (1 - snow)
    lit[..., ID["snow"]] += snow[..., 0]
    # Slopes that face the sun are brighter, the more so the lower it stands (Lambert's cosine).
    height = 0.62 - 0.25 * np.cos((view.day.timetuple().tm_yday + 10) / 365.25 * 2 * np.pi)
    sun = 1 - (slope_x * _SUN[0] + slope_y * _SUN[1]) * np.sqrt(1 - height**2) / height
    ground = (lit @ reflectances(target)) * np.clip(sun, 0.35, 1.7)[..., None] * (0.95 + 0.1 * view.fate(71))
    nm = np.array([b.wavelength or 560.0 for b in target.bands], np.float32)
    drift = 1 + 0.25 * Grid(view.xs, view.ys).fbm(6000, 2, view.seed * 1009 + view.day.toordinal())
    haze = 0.03 * view.fate(72) * drift[..., None] * (490 / nm) ** 2
    return np.moveaxis(ground * (1 - haze) + 0.5 * haze, -1, 0)


def _reflectance(view: View, target: Sensor, shares: Array) -> Array:
    image = _optical(view, target, shares)
    for i, band in enumerate(target.bands):
        if band.gsd and band.gsd > view.gsd:
            image[i] = blur(image[i], band.gsd / view.gsd)
        image[i] += view.gaussian(10 + i) * (0.0012 + 0.006 * image[i])
    unit = target.physical_unit
    lowest = 1 if unit.scale != 1 else 0  # stored zero means no data
    return np.maximum((image - np.float32(unit.offset)) / np.float32(unit.scale), lowest).astype(np.float32)


def _display(view: View, target: Sensor, shares: Array) -> Array:
    """8-bit brightness as people show it: reflectance up to 0.28, with a gamma of 1.6."""
    shown = 255 * np.clip(_optical(view, target, shares) / 0.28, 0, 1) ** (1 / 1.6)
    noise = np.stack([view.gaussian(30 + i) for i in range(len(shown))])
    return np.clip(shown + 1.3 * noise, 0, 255).astype(np.float32)


def _backscatter(view: View, target: Sensor, shares: Array) -> Array:
    """Speckled backscatter; the radar looks east, so that slopes facing west are bright."""
    (slope_x,) = Patch(view.terrain, view.xs, view.ys).on_grid("relief_x")
    facing = np.clip(1 + 2.2 * slope_x, 0.2, 3)
    looks = max(_LOOKS * (view.gsd / 10) ** 2, 1)
    out = []
    for i, band in enumerate(target.bands):
        power = shares @ backscatter(band.polarisation or "VV") * facing * (0.85 + 0.3 * view.fate(73))
        # A gamma variable from a normal one (Wilson and Hilferty, PNAS 17, 1931).
        speckle = np.maximum(1 - 1 / (9 * looks) + view.gaussian(50 + i) / (3 * looks**0.5), 0.12) ** 3
        out.append(power * speckle)
    power = np.stack(out).astype(np.float32)
    unit = target.physical_unit
    return 10 * np.log10(np.maximum(power, 1e-4)) if unit.decibel else power / np.float32(unit.scale)


def _elevation(view: View, target: Sensor, shares: Array) -> Array:
    (elevation,) = Patch(view.terrain, view.xs, view.ys).on_grid("elevation")
    return elevation[None] + 0.2 * view.gaussian(60)[None]


def blur(band: Array, width: float) -> Array:
    """The mean over a square of this many pixels around every pixel (H, W); edges repeat."""
    reach = int(np.ceil(width / 2 - 0.5))
    offsets = np.arange(-reach, reach + 1)
    taps = np.clip(width / 2 + 0.5 - np.abs(offsets), 0, 1).astype(np.float32) / np.float32(width)
    h, w = band.shape
    padded = np.pad(band, reach, mode="edge")
    rows = np.stack([padded[k : k + h] for k in range(len(taps))], -1) @ taps
    return np.stack([rows[:, k : k + w] for k in range(len(taps))], -1) @ taps
