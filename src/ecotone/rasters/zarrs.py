"""Layers as one Zarr v3 group: chunks in shards, placed on Earth by the conventions of CF and of GDAL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr
from affine import Affine
from rasterio.crs import CRS

from ecotone.files import new_folder, write_errors
from ecotone.rasters.layers import Layer, Layers
from ecotone.rasters.zarr_place import place

CHUNK, SHARD = 512, 4096  # pixels along a side


def write_zarr(layers: Layers, path: Path, crs: CRS | None, transform: Affine, attributes: Mapping[str, Any]) -> None:
    """Turn all layers into arrays (channel, y, x) of one Zarr group, whole or not at all.

    Arrays say ``_FillValue``, ``scale_factor`` and ``long_name`` as CF does, so that xarray shows values.

    Args:
        layers: Closed.
        path: The folder to write; it must not exist.
        crs: CRS of the grid.
        transform: Pixel (column, row) to CRS coordinates.
        attributes: Of the group.

    Raises:
        OutputError: The folder exists or cannot be written.
    """
    with write_errors(path), new_folder(path) as temporary:
        group = zarr.create_group(temporary, attributes={"Conventions": "CF-1.11", **attributes})
        placed = place(group, crs, transform, layers.shape)
        for layer in layers.layers:
            array = _array(group, layer, layers.shape, placed)
            for top in range(0, layers.shape[0], SHARD):
                bottom = min(top + SHARD, layers.shape[0])
                array[:, top:bottom] = layers.read(layer, top, bottom)


def _array(group: zarr.Group, layer: Layer, shape: tuple[int, int], placed: Mapping[str, Any]) -> zarr.Array:
    attributes = {**placed, "long_name": layer.name, "channels": list(layer.descriptions)}
    if layer.scale:
        attributes |= {"scale_factor": layer.scale, "add_offset": 0.0}
    chunk = tuple(min(CHUNK, n) for n in shape)
    shard = tuple(c * max(1, min(SHARD // c, -(-n // c))) for c, n in zip(chunk, shape, strict=True))
    return group.create_array(
        layer.name,
        shape=(len(layer.descriptions), *shape),
        dtype=layer.dtype,
        chunks=(1, *chunk),
        shards=None if shard == chunk else (1, *shard),
        fill_value=layer.nodata,
        dimension_names=("channel", "y", "x"),
        attributes=attributes,
    )
