"""The embeddings of one source as a georeferenced Zarr v3 grid of its cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from ecotone.embeddings.components import grid_transform
from ecotone.embeddings.folder import grid_folder
from ecotone.embeddings.parts import Part
from ecotone.embeddings.store import open_store
from ecotone.files import new_folder, write_errors
from ecotone.rasters.zarr_place import place

STRIP_BYTES = 64 * 2**20  # most memory of the rows of cells that are put together at a time
CHUNK = 16  # cells along a side that are read together at least
SHARD = 8  # chunks along a side that share a file


def write_grids(folder: Path) -> None:
    """Write the grids that a store still lacks.

    Raises:
        DataError: A file of the store is damaged, or a grid cannot be written.
    """
    for part in open_store(folder).parts:
        path = grid_folder(folder, part.facts.source_id)
        if not path.exists():
            write_grid(part, path)


def write_grid(part: Part, path: Path) -> None:
    """Write the vectors of a source as a Zarr v3 group, whole or not at all, a strip of cells at a time.

    It holds ``embedding`` (D, rows, columns) in the type of the store, NaN where there is no row; for ``int8`` also
    ``scale`` (rows, columns), NaN where there is no row, with ``vector = scale * embedding``; ``valid_fraction`` (rows,
    columns); and the coordinates ``x`` and ``y`` of the middles of cells, which a rotated raster has not. The CRS and
    the transform stand in ``spatial_ref`` by the conventions of CF and of GDAL, as xarray and rioxarray read them.

    Args:
        part: The rows.
        path: The folder to write; it must not exist.

    Raises:
        DataError: The rows are damaged, or the folder exists or cannot be written.
    """
    with write_errors(path), new_folder(path) as temporary:
        group = zarr.create_group(temporary, attributes=_attributes(part))
        height = _place(group, part)
        rows, _ = part.grid.size
        for top in range(0, rows, height):
            _write_strip(group, part, top, min(top + height, rows))


def _write_strip(group: zarr.Group, part: Part, top: int, bottom: int) -> None:
    """Fill the rows of cells from ``top`` up to ``bottom``."""
    facts, (_, cols) = part.facts, part.grid.size
    dtype = _array(group, "embedding").dtype
    strip = np.full((facts.dimension, bottom - top, cols), 0 if facts.dtype == "int8" else np.nan, dtype)
    fraction, scale = (np.full(strip.shape[1:], np.nan, np.float32) for _ in range(2))
    for table in part.tables(["row", "col", "valid_fraction"], (top * facts.step, bottom * facts.step)):
        row, col = table["row"].to_numpy() // facts.step - top, table["col"].to_numpy() // facts.step
        here = (row >= 0) & (row < bottom - top)
        row, col = row[here], col[here]
        vectors = table["vector"].combine_chunks().flatten().to_numpy().reshape(-1, facts.dimension)
        strip[:, row, col] = vectors[here].T
        fraction[row, col] = table["valid_fraction"].to_numpy()[here]
        if facts.dtype == "int8":
            scale[row, col] = table["scale"].to_numpy()[here]
    _array(group, "embedding")[:, top:bottom] = strip
    _array(group, "valid_fraction")[top:bottom] = fraction
    if facts.dtype == "int8":
        _array(group, "scale")[top:bottom] = scale


def _place(group: zarr.Group, part: Part) -> int:
    """Make the arrays and write the coordinates; returns the rows of cells in a strip."""
    facts, (rows, cols) = part.facts, part.grid.size
    size = np.dtype(facts.dtype).itemsize * facts.dimension
    chunk = min(CHUNK, max(rows, cols))
    while chunk > 1 and chunk * cols * size > STRIP_BYTES:
        chunk //= 2
    height = chunk * max(1, min(SHARD, STRIP_BYTES // (chunk * cols * size), -(-rows // chunk)))
    width = chunk * min(SHARD, -(-cols // chunk))
    alone = (height, width) == (chunk, chunk)  # a file of one chunk needs no index of chunks
    placed = place(group, facts.raster.crs, grid_transform(facts), (rows, cols))
    blank = 0 if facts.dtype == "int8" else np.nan
    group.create_array(
        "embedding",
        shape=(facts.dimension, rows, cols),
        dtype=facts.dtype,
        chunks=(facts.dimension, chunk, chunk),
        shards=None if alone else (facts.dimension, height, width),
        fill_value=blank,
        dimension_names=("feature", "y", "x"),
        attributes=placed,
    )
    for name in ("valid_fraction", *(["scale"] if facts.dtype == "int8" else [])):
        group.create_array(
            name,
            shape=(rows, cols),
            dtype="float32",
            chunks=(height, width),
            fill_value=np.nan,
            dimension_names=("y", "x"),
            attributes=placed,
        )
    return height


def _attributes(part: Part) -> dict[str, Any]:
    facts = part.facts
    return {
        "Conventions": "CF-1.11",
        "title": f"Embeddings of {facts.raster.name}",
        "source": facts.uri,
        "model_hash": facts.model_hash,
        "spec_hash": facts.spec_hash,
        "per": facts.per,
        "gsd": facts.gsd,
        "ecotone_version": facts.ecotone_version,
    }


def _array(group: zarr.Group, name: str) -> zarr.Array:
    found = group[name]
    assert isinstance(found, zarr.Array)
    return found
