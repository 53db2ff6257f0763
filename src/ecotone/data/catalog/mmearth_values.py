"""From the stored numbers of one MMEarth tile to physical values and class indices, with what is missing marked."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecotone.data.catalog.mmearth_layout import (
    ASTER_NOTHING,
    CANOPY_CLIPPED,
    CIRRUS,
    SENTINEL1,
    SENTINEL2,
    Layer,
    class_table,
)
from ecotone.data.catalog.mmearth_tables import Tile

_TABLES = {
    "fixed": {name: class_table(name) for name in ("dynamic_world", "esa_worldcover")},
    # The official loader maps tree cover to 0, then takes 0 for no data.
    "as-released": {
        "dynamic_world": class_table("dynamic_world"),
        "esa_worldcover": class_table("esa_worldcover", drop_first=True),
    },
}
_SPECTRAL = [i for i, band in enumerate(SENTINEL2) if band != CIRRUS]


def image_values(
    layer: Layer, stored: NDArray[Any], tile: Tile, bands: tuple[str, ...], mode: Literal["fixed", "as-released"]
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """The pixels of one modality.

    Args:
        layer: The modality.
        stored: (C, H, W) as in the file.
        tile: What is known about the tile.
        bands: Bands wanted of Sentinel-2.
        mode: See ``MMEarth``.

    Returns:
        (C, H, W) float32 with NaN for missing, or int8 class indices with -1; and for Sentinel-2 (H, W) bool, True
        where observed.
    """
    if layer.name == "sentinel2":
        return _sentinel2(stored, bands, mode)
    fixed = mode == "fixed"
    if layer.kind == "categorical":
        labels = _TABLES[mode][layer.name][np.clip(stored, 0, 255)]
        return (np.full_like(labels, -1) if fixed and layer.name in tile.absent else labels), None
    values = stored.astype(np.float32)
    values[~np.isfinite(values)] = np.nan
    if fixed:
        _mark_missing(layer.name, values, tile)
    return values, None


def _sentinel2(
    stored: NDArray[Any], bands: tuple[str, ...], mode: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    values = stored[[SENTINEL2.index(b) for b in bands]].astype(np.float32)
    if mode == "fixed":
        # One dark band is a measurement; zero in all of them is a place that the scene does not cover.
        values[:, (stored[_SPECTRAL] == 0).all(0)] = np.nan
    else:
        values[values == 0] = np.nan
    return values, ~np.isnan(values.sum(0))


def _mark_missing(name: str, values: NDArray[np.float32], tile: Tile) -> None:
    if name == "sentinel1":
        values[[i for i, channel in enumerate(SENTINEL1) if channel in tile.absent]] = np.nan
    elif name in tile.absent:
        values[:] = np.nan
    elif name == "canopy_height_eth":
        values[values >= CANOPY_CLIPPED] = np.nan  # 127 in int8, 255 where a file is unsigned
    elif name == "aster":
        values[values == ASTER_NOTHING] = np.nan


def target_value(layer: Layer, stored: NDArray[Any], tile: Tile) -> Tensor | int:
    """One image-level modality: (K,) float32 with NaN for missing, or a class index with -1.

    Args:
        layer: The modality.
        stored: (K,) numbers, or a one-hot code, as in the file.
        tile: What is known about the tile.
    """
    if layer.kind == "categorical":
        return int(stored.argmax()) if int(stored.astype(np.int64).sum()) == 1 else -1
    values = stored.astype(np.float32)
    values[~np.isfinite(values)] = np.nan
    if layer.name in tile.absent:
        values[:] = np.nan
    return torch.from_numpy(values)
