"""Where a Zarr grid lies, as xarray, rioxarray and GDAL read it: conventions of CF and the GeoTransform of GDAL."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyproj
import zarr
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

CRS_NAME = "spatial_ref"


def place(group: zarr.Group, crs: CRS | str | None, transform: Affine, shape: tuple[int, int]) -> dict[str, Any]:
    """Write the CRS, the transform and the coordinates ``x`` and ``y`` of the middles of cells into a group.

    A rotated grid has no such coordinates.

    Args:
        group: Where the arrays of the grid are.
        crs: CRS of the grid; None leaves it without a place.
        transform: Cell (column, row) to CRS coordinates.
        shape: Rows and columns.

    Returns:
        Attributes that every array on the grid needs.
    """
    if not crs:
        return {}
    known = pyproj.CRS.from_user_input(crs if isinstance(crs, str) else crs.to_wkt())
    wkt, numbers = known.to_wkt(), " ".join(map(repr, transform.to_gdal()))
    told = {**known.to_cf(), "crs_wkt": wkt, "spatial_ref": wkt, "GeoTransform": numbers}
    _coordinate(group, CRS_NAME, np.zeros((), np.int64), (), told)
    if transform.b == transform.d == 0:
        said = {a["axis"]: a for a in known.cs_to_cf() if "axis" in a}
        x = transform.c + transform.a * (np.arange(shape[1]) + 0.5)
        y = transform.f + transform.e * (np.arange(shape[0]) + 0.5)
        _coordinate(group, "x", x, ("x",), said.get("X", {"axis": "X"}))
        _coordinate(group, "y", y, ("y",), said.get("Y", {"axis": "Y"}))
    return {"grid_mapping": CRS_NAME, "coordinates": CRS_NAME}


def _coordinate(
    group: zarr.Group, name: str, values: NDArray[Any], dimensions: tuple[str, ...], attributes: dict[str, Any]
) -> None:
    array = group.create_array(
        name, shape=values.shape, dtype=values.dtype, dimension_names=dimensions, attributes=attributes
    )
    array[...] = values
