"""A picture of a query and its hits, cut from the source raster."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ecotone.embeddings import Hit, Store, open_source
from ecotone.files import replacing
from ecotone.rasters import Raster
from ecotone.samples import Image
from ecotone.sensors import Unit, sensor, unit

CONTEXT = 64  # smallest side in pixels of what is shown around a cell
COLUMNS = 6
SHOWN = 23  # hits in a picture: four rows with the query
LARGEST = 512  # side in pixels of what is shown of a query image


@dataclass(frozen=True)
class Tile:
    """One panel of the picture.

    Attributes:
        pixels: (H, W, 3) float32, NaN where not valid.
        caption: Text above it.
        cell: First row, first column and side of the embedded cell within the panel; None for all of it.
    """

    pixels: np.ndarray
    caption: str
    cell: tuple[int, int, int] | None = None


def cut(raster: Raster, store: Store, row: int, col: int, caption: str) -> Tile:
    """The surroundings of a cell, with its outline where it is smaller than they are."""
    cell = store.facts.cell
    side = max(cell, CONTEXT)
    top, left = row - (side - cell) // 2, col - (side - cell) // 2
    image = raster.read((top, left, side, side))
    return Tile(display_bands(image), caption, (row - top, col - left, cell) if side > cell else None)


def query_tile(raster: Raster, caption: str) -> Tile:
    """The middle of a query image."""
    height, width = (min(n, LARGEST) for n in raster.shape)
    top, left = (raster.shape[0] - height) // 2, (raster.shape[1] - width) // 2
    return Tile(display_bands(raster.read((top, left, height, width))), caption)


def display_bands(image: Image) -> np.ndarray:
    """(H, W, 3) red, green and blue of a known sensor, else the first three bands, or one of fewer as grey."""
    known = sensor(image.sensor) if image.sensor else None
    natural = [b.name for c in ("red", "green", "blue") if known and (b := known.common(c))]
    if len(natural) == 3 and set(natural) <= set(image.bands):
        order = [image.bands.index(n) for n in natural]
    else:
        order = [0, 1, 2] if len(image.bands) >= 3 else [0, 0, 0]
    # Images in different units of one quantity must share a stretch.
    shown = unit("dB") if image.unit.quantity == "backscatter" else Unit("base unit", image.unit.quantity)
    pixels = image.unit.to(shown, image.pixels[0].float()[order]).permute(1, 2, 0).numpy()
    if image.valid is not None:
        pixels[~image.valid[0].numpy()] = np.nan
    return pixels


def write_hits(path: str | Path, store: Store, found: Sequence[Hit], query: Raster | Sequence[int]) -> None:
    """A PNG of a query and its first hits, captioned with distance, longitude and latitude.

    Args:
        path: The file to write.
        store: The store that was searched; the rasters that it was made from are read.
        found: The hits.
        query: The query image, or the rows of the store that are the query.

    Raises:
        DataError: A raster is not where it was embedded.
    """
    with ExitStack() as files:
        opened: dict[Path, Raster] = {}

        def of_row(index: int, row: int, col: int, caption: str) -> Tile:
            part = store.part_of(index)
            if part.path not in opened:
                opened[part.path] = files.enter_context(open_source(part))
            return cut(opened[part.path], store, row, col, caption)

        if isinstance(query, Raster):
            first = [query_tile(query, f"query\n{Path(query.paths[0]).name}")]
        else:
            shown = list(query)[:COLUMNS]
            facts, centres = store.rows(shown), shapely.centroid(store.geometries(shown))
            first = [
                of_row(i, f["row"], f["col"], f"query\n{c.x:.4f}, {c.y:.4f}")
                for i, f, c in zip(shown, facts, centres, strict=True)
            ]
        captions = (f"{h.rank}: distance {h.distance:.3f}\n{h.lon:.4f}, {h.lat:.4f}" for h in found)
        tiles = [of_row(h.index, h.row, h.col, c) for h, c in zip(found[:SHOWN], captions, strict=False)]
        write_picture([*first, *tiles], path, len(first))


def write_picture(tiles: Sequence[Tile], path: str | Path, queries: int = 1) -> None:
    """A PNG of tiles that share one 2-98 % stretch per band, so that they compare by eye; the first are the query."""
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    figure = Figure(figsize=(2.2 * columns, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    low, high = _stretch(tiles)
    for axis, tile in zip(axes, tiles, strict=False):
        _draw(axis, tile, low, high)
    for axis in axes[len(tiles) :]:
        axis.axis("off")
    for axis in axes[:queries]:
        for spine in axis.spines.values():
            spine.set(edgecolor="tab:red", linewidth=3)
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _stretch(tiles: Sequence[Tile]) -> tuple[np.ndarray, np.ndarray]:
    values = np.concatenate([t.pixels.reshape(-1, 3) for t in tiles])
    low, high = np.nanpercentile(values, (2, 98), axis=0)
    return low, np.where(high > low, high, low + 1)


def _draw(axis: Axes, tile: Tile, low: np.ndarray, high: np.ndarray) -> None:
    shown = np.clip((tile.pixels - low) / (high - low), 0, 1)
    shown = np.where(np.isnan(shown), 1.0, shown)
    axis.imshow(shown)
    axis.set_title(tile.caption, fontsize=7)
    axis.set(xticks=[], yticks=[])
    if tile.cell:
        row, col, side = tile.cell
        axis.add_patch(Rectangle((col - 0.5, row - 0.5), side, side, fill=False, edgecolor="yellow", linewidth=1.5))
