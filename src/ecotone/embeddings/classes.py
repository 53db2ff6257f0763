"""Classes of rows, from a raster that says the class of every pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from ecotone.embeddings.store import Store
from ecotone.errors import DataError
from ecotone.rasters.files import open_file, readable

STRIP = 512  # pixel rows that are read at once


def classes_at(store: Store, path: str | Path) -> NDArray[np.int64]:
    """(n,) class at the centre of each row; -1 beyond the raster and where it holds no data.

    Args:
        store: The embeddings.
        path: A georeferenced raster whose first band holds whole numbers >= 0.

    Raises:
        DataError: It cannot be read, has no CRS, or holds no whole numbers.
    """
    with readable(str(path)), open_file(path) as file:
        if file.crs is None or np.dtype(file.dtypes[0]).kind not in "iu":
            raise DataError(
                f"{path} is no raster of classes with a place",
                found=f"{file.dtypes[0]} numbers, {'no CRS' if file.crs is None else file.crs}",
                expected="whole numbers and a CRS",
            )
        lon, lat = store.centres.T
        x, y = Transformer.from_crs("EPSG:4326", file.crs, always_xy=True).transform(lon, lat)
        t = ~file.transform
        with np.errstate(invalid="ignore"):  # places beyond the CRS are infinite, and fall outside below
            col, row = np.floor(t.a * x + t.b * y + t.c), np.floor(t.d * x + t.e * y + t.f)
            inside = (row >= 0) & (col >= 0) & (row < file.height) & (col < file.width)
        found = np.full(len(store), -1, np.int64)
        for top in range(0, file.height, STRIP):
            here = np.flatnonzero(inside & (row >= top) & (row < top + STRIP))
            if len(here):
                window = ((top, min(top + STRIP, file.height)), (0, file.width))
                values, seen = file.read(1, window=window), file.read_masks(1, window=window) > 0
                at = row[here].astype(int) - top, col[here].astype(int)
                found[here] = np.where(seen[at], values[at].astype(np.int64), -1)
    return found
