"""Ground: a plane in metres around some places, wherever on the Earth they lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import NDArray


class Ground:
    """A plane in metres around some places, on which distances and areas between them are measured.

    It is the azimuthal equal-area projection of Lambert around their middle, so that neither the antimeridian nor a
    pole is in the way.

    Args:
        places: Longitude and latitude of each in degrees.
    """

    def __init__(self, places: Sequence[tuple[float, float]]) -> None:
        lon, lat = np.radians(np.asarray(places, float)).T
        x, y, z = np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)  # of vectors: 180 is near -180
        middle = np.degrees([np.arctan2(y.mean(), x.mean()), np.arctan2(z.mean(), np.hypot(x.mean(), y.mean()))])
        self.crs = pyproj.CRS.from_proj4(f"+proj=laea +lon_0={middle[0]} +lat_0={middle[1]} +datum=WGS84 +units=m")
        self._known: dict[str, pyproj.Transformer] = {}

    def metres(self, crs: str, transform: Affine, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) metres east and north of the middle.

        Args:
            crs: Of a raster, as an authority code or WKT.
            transform: Pixel (column, row) to CRS coordinates.
            pixels: (n, 2) row and column of places in its pixels.
        """
        if crs not in self._known:
            self._known[crs] = pyproj.Transformer.from_crs(crs, self.crs, always_xy=True)
        t, (rows, cols) = transform, pixels.T
        x, y = t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f
        return np.stack(self._known[crs].transform(x, y), 1)
