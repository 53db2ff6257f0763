"""The official layout of MMEarth v001: names, channels, units and codes of what lies in its HDF5 file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# B8A comes before B8 in the file and in the channels of the released models.
SENTINEL2 = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8A", "B8", "B9", "B10", "B11", "B12")
CIRRUS = "B10"  # zero in L2A tiles, left out by default
POLARISATIONS = ("VV", "VH", "HH", "HV")
SENTINEL1 = tuple(f"{orbit}_{p}" for orbit in ("asc", "desc") for p in POLARISATIONS)
ERA5 = tuple(
    f"{period}_{what}"
    for period in ("previous_month", "month", "year")
    for what in ("temperature_mean_K", "temperature_min_K", "temperature_max_K", "precipitation_m")
)
# In the order of the stored codes 1 to 9, and 10 to 100.
DYNAMIC_WORLD = (
    "water", "trees", "grass", "flooded vegetation", "crops", "shrub and scrub", "built", "bare", "snow and ice",
)  # fmt: skip
WORLDCOVER = (
    "tree cover", "shrubland", "grassland", "cropland", "built-up", "bare or sparse vegetation", "snow and ice",
    "permanent water", "herbaceous wetland", "mangroves", "moss and lichen",
)  # fmt: skip
WORLDCOVER_CODES = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)
BIOMES, ECO_REGIONS = 14, 846
CANOPY_CLIPPED = 127  # the no-data value 255 does not fit the int8 of the file; HDF5 clips it
ASTER_NOTHING = -32768  # what HDF5 makes of the no-data value -inf in int16


@dataclass(frozen=True)
class Layer:
    """One modality as the file holds it.

    Attributes:
        name: Name of the HDF5 array, and of the modality.
        role: Role of the image, or name of the target, in a sample.
        scope: One value per pixel, or per image.
        kind: Measured numbers, or classes.
        channels: Band names, or class names.
        stored: Length of the array's second axis.
        sensor: Sensor of an image, in the registry.
        unit: Unit of an image.
    """

    name: str
    role: str
    scope: Literal["pixel", "image"]
    kind: Literal["continuous", "categorical"]
    channels: tuple[str, ...]
    stored: int
    sensor: str | None = None
    unit: str | None = None


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


# In the official order of the losses.
LAYERS = {
    layer.name: layer
    for layer in (
        Layer("sentinel2", "optical", "pixel", "continuous", SENTINEL2, 13, "sentinel2-l2a", "reflectance x 10000"),
        Layer("sentinel1", "sentinel1", "pixel", "continuous", SENTINEL1, 8, "sentinel1-orbits", "dB"),
        Layer("aster", "aster", "pixel", "continuous", ("elevation", "slope"), 2, "aster", "metre, degree"),
        Layer("era5", "era5", "image", "continuous", ERA5, 12),
        Layer("dynamic_world", "dynamic_world", "pixel", "categorical", DYNAMIC_WORLD, 1, "dynamic-world", "class"),
        Layer(
            "canopy_height_eth", "canopy_height_eth", "pixel", "continuous", ("height", "std"), 2,
            "canopy-height-eth", "metre",
        ),
        Layer("lat", "lat", "image", "continuous", ("sin_lat", "cos_lat"), 2),
        Layer("lon", "lon", "image", "continuous", ("sin_lon", "cos_lon"), 2),
        Layer("biome", "biome", "image", "categorical", _numbers(BIOMES), BIOMES),
        Layer("eco_region", "eco_region", "image", "categorical", _numbers(ECO_REGIONS), ECO_REGIONS),
        Layer("month", "month", "image", "continuous", ("sin_month", "cos_month"), 2),
        Layer("esa_worldcover", "esa_worldcover", "pixel", "categorical", WORLDCOVER, 1, "esa-worldcover", "class"),
    )
}  # fmt: skip
MISSABLE = ("aster", "era5", "dynamic_world", "canopy_height_eth", "esa_worldcover")  # by BANDS of a tile
AFTER_SENTINEL2 = (*SENTINEL1, "aster", "dynamic_world", "canopy_height_eth", "esa_worldcover")


def class_table(name: str, *, drop_first: bool = False) -> NDArray[np.int8]:
    """(256,) class index of every stored code of ``dynamic_world`` or ``esa_worldcover``; -1 is missing.

    Args:
        name: Name of the array.
        drop_first: The first class becomes missing too.
    """
    codes = range(1, len(DYNAMIC_WORLD) + 1) if name == "dynamic_world" else WORLDCOVER_CODES
    table = np.full(256, -1, np.int8)
    table[list(codes)] = np.arange(len(codes))
    if drop_first:
        table[codes[0]] = -1
    return table
