"""What a notebook shows of a store: its facts and a map of its sources, as HTML that asks nobody for anything."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from PIL import Image as Picture
from rasterio.crs import CRS

from ecotone.embeddings.components import Components, fit_components
from ecotone.embeddings.parts import Part
from ecotone.embeddings.schema import RasterFacts
from ecotone.embeddings.store import Store
from ecotone.rasters.ground import Ground
from ecotone.rasters.gsd import grid_place

MAP_SIDE, MARGIN = 300, 4  # pixels of the map's longer side, and around it
IMAGE_SIDE = 256  # most pixels of a source's picture
PICTURED = 250_000  # rows; of a larger store only the outlines are drawn, because all vectors would have to be read
OUTLINED = 500  # sources


def store_html(store: Store) -> str:
    """Facts of a store beside a map: the outline of each source, and the principal components of its embeddings."""
    facts, rasters = store.facts, [p.raster for p in store.parts]
    west, south, east, north = store.bounds
    gsds = sorted({p.facts.gsd for p in store.parts if p.facts.gsd is not None})
    sensors = sorted({r.sensor or "unknown" for r in rasters})
    told = {
        "embeddings": f"{len(store):,} of {facts.dimension} numbers, {facts.dtype}",
        "one per": f"{facts.per}: {facts.cell} pixels, every {facts.step}",
        "sources": ", ".join(r.name for r in rasters[:3]) + (f" and {len(rasters) - 3} more" if rasters[3:] else ""),
        "sensor": ", ".join(sensors),
        "metres per pixel": " to ".join(f"{g:g}" for g in dict.fromkeys([gsds[0], gsds[-1]])) if gsds else "unknown",
        "longitude": f"{west:.5f} to {east:.5f}",
        "latitude": f"{south:.5f} to {north:.5f}",
        "model": facts.model_hash,
        "path": str(store.path),
    }
    return card_html("Store of embeddings", told, map_svg(store))


def card_html(title: str, facts: Mapping[str, object], picture: str = "") -> str:
    """A table of facts, and markup beside it; the facts are escaped, the picture is taken as it is."""
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(str(value))}</td></tr>'
        for name, value in facts.items()
    )
    table = f"<table><caption><b>{escape(title)}</b></caption><tbody>{rows}</tbody></table>"
    return f'<div style="display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start">{table}{picture}</div>'


def map_svg(store: Store) -> str:
    """A map of the store's sources, true to scale, north up in its middle."""
    parts = store.parts[:OUTLINED]
    ground = Ground([_middle(p.raster) for p in parts])
    rings = [ground.metres(p.raster.crs, p.raster.affine, _ring(p.raster.shape)) for p in parts]
    low, high = (f(np.concatenate(rings), axis=0) for f in (np.min, np.max))
    scale = MAP_SIDE / (high - low).max()

    def place(metres: NDArray[np.float64]) -> NDArray[np.float64]:
        return (metres - (low[0], high[1])) * (scale, -scale) + MARGIN

    drawn = []
    if len(store) <= PICTURED:
        components = fit_components(store)
        drawn = [_image(p, components, place(ground.metres(p.raster.crs, _cells(p), _corners(p)))) for p in parts]
    for ring in rings:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in place(ring))
        drawn.append(f'<polygon points="{points}" fill="none" stroke="currentColor"/>')
    width, height = np.ceil((high - low) * scale + 2 * MARGIN).astype(int)
    label = f"Map of {len(store.parts)} sources; colours are principal components of the embeddings"
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">{"".join(drawn)}</svg>'


def _middle(raster: RasterFacts) -> tuple[float, float]:
    place = grid_place(CRS.from_user_input(raster.crs), raster.affine, raster.shape)
    assert place  # a raster without one is not embedded
    return place.lon, place.lat


def _ring(shape: tuple[int, int]) -> NDArray[np.float64]:
    """(32, 2) rows and columns around a raster, with points along its edges, which other projections bend."""
    step = np.linspace(0, 1, 8, endpoint=False)
    sides = [(step, 0 * step), (1 + 0 * step, step), (1 - step, 1 + 0 * step), (0 * step, 1 - step)]
    return np.concatenate([np.stack(side, 1) for side in sides]) * shape


def _cells(part: Part) -> Affine:
    return part.grid.transform(part.raster.affine)


def _corners(part: Part) -> NDArray[np.float64]:
    """(3, 2) row and column of the first, the upper right and the lower left corner of its grid of cells."""
    height, width = part.grid.size
    return np.array([[0, 0], [0, width], [height, 0]], float)


def _image(part: Part, components: Components, corners: NDArray[np.float64]) -> str:
    """The picture of a source as an SVG image on these three corners (3, 2)."""
    (height, width), (origin, right, down) = part.grid.size, corners
    matrix = " ".join(f"{v:.6g}" for v in (*((right - origin) / width), *((down - origin) / height), *origin))
    source = base64.b64encode(_png(part, components)).decode()
    return (
        f'<image width="{width}" height="{height}" preserveAspectRatio="none" transform="matrix({matrix})" '
        f'style="image-rendering:pixelated" href="data:image/png;base64,{source}"/>'
    )


def _png(part: Part, components: Components) -> bytes:
    """The components of a source, clear where there is no embedding; several cells share a pixel if they are many."""
    height, width = part.grid.size
    factor = -(-max(height, width) // IMAGE_SIDE)
    total = np.zeros((-(-height // factor), -(-width // factor), 4))
    for block in part.blocks():
        cell = block.row // part.grid.step // factor, block.col // part.grid.step // factor
        shown = components.display(block.vectors)
        np.add.at(total, cell, np.concatenate([shown, np.ones((len(shown), 1))], 1))
    seen = total[..., 3:] > 0
    colours = np.where(seen, total[..., :3] / np.maximum(total[..., 3:], 1), 0)
    rgba = np.concatenate([colours.round(), np.where(seen, 255, 0)], 2).astype(np.uint8)
    file = io.BytesIO()
    Picture.fromarray(rgba).save(file, format="PNG", optimize=True)
    return file.getvalue()
