"""The statistics of ``_band_stats.json``, gathered tile by tile."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecotone.data.catalog.mmearth_layout import CANOPY_CLIPPED

# Stored values that are no observations; NaN and -inf are none anywhere.
_NOTHING = {
    "sentinel2": 0, "sentinel2_cloudmask": 65535, "sentinel2_cloudprod": 65535, "canopy_height_eth": CANOPY_CLIPPED,
}  # fmt: skip
_BY_LEVEL = ("sentinel2", "sentinel2_cloudmask", "sentinel2_cloudprod")
_PLAIN = ("aster", "canopy_height_eth", "era5", "lat", "lon", "month", "sentinel1")


class BandStatistics:
    """Mean, population standard deviation, least and greatest value of every band, without what is missing.

    The official file draws 100 000 tiles with replacement, and counts canopy heights that are no data as 127 m; here
    every tile counts once, and no-data not at all.
    """

    def __init__(self) -> None:
        self._sums: dict[str, NDArray[np.float64]] = {}

    def add(self, tile: dict[str, NDArray[Any]], level: str) -> None:
        """Count one tile, whose arrays begin with the bands.

        Args:
            tile: Name -> stored values.
            level: ``l1c`` or ``l2a``.
        """
        for name in (*_PLAIN, *_BY_LEVEL):
            key = f"{name}_{level}" if name in _BY_LEVEL else name
            values = tile[name].reshape(len(tile[name]), -1).astype(np.float64)
            good = np.isfinite(values)
            if name in _NOTHING:
                good &= values != _NOTHING[name]
            new = np.stack([
                good.sum(1),
                np.where(good, values, 0).sum(1),
                np.where(good, values**2, 0).sum(1),
                np.where(good, values, np.inf).min(1),
                np.where(good, values, -np.inf).max(1),
            ])  # fmt: skip
            self._sums[key] = _joined(self._sums[key], new) if key in self._sums else new

    def table(self) -> dict[str, dict[str, list[float]]]:
        """Name -> ``mean``, ``std``, ``min`` and ``max`` by band; NaN and infinities for bands never observed."""
        found = {}
        for name, (count, total, squares, low, high) in sorted(self._sums.items()):
            some = np.where(count > 0, count, np.nan)
            mean = total / some
            std = np.sqrt(np.maximum(squares / some - mean**2, 0))
            columns = {"mean": mean, "std": std, "min": low, "max": high}
            found[name] = {key: values.tolist() for key, values in columns.items()}
        return found


def _joined(old: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([*(old[:3] + new[:3]), np.minimum(old[3], new[3]), np.maximum(old[4], new[4])])
