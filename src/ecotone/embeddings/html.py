"""What a notebook shows of a store: its facts and a map of its sources, as HTML that asks nobody for anything."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from html import escape

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from PIL import Image as Picture

from ecotone.embeddings.components import Components, fit_components
from ecotone.embeddings.parts import Part
from ecotone.embeddings.store import Store

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
    """A map of the store's sources in longitude and latitude, true to scale at its middle latitude."""
    boxes = [p.raster.polygon().bounds for p in store.parts[:OUTLINED]]
    west, south, east, north = (f(b[i] for b in boxes) for i, f in enumerate((min, min, max, max)))
    shrink = math.cos(math.radians((south + north) / 2))
    scale = MAP_SIDE / max((east - west) * shrink, north - south)

    def place(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
        lon, lat = degrees.T
        return np.stack([(lon - west) * shrink * scale, (north - lat) * scale], 1) + MARGIN

    drawn = _pictures(store, place) if len(store) <= PICTURED else []
    for part in store.parts[:OUTLINED]:
        for outline in shapely.get_exterior_ring(shapely.get_parts(part.raster.polygon())):
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in place(shapely.get_coordinates(outline)))
            drawn.append(f'<polygon points="{points}" fill="none" stroke="currentColor"/>')
    width, height = np.ceil(place(np.array([[east, south]]))[0] + MARGIN).astype(int)
    label = f"Map of {len(store.parts)} sources; colours are principal components of the embeddings"
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">{"".join(drawn)}</svg>'


def _pictures(store: Store, place) -> list[str]:  # noqa: ANN001
    """One SVG image for each source, placed by three of its corners."""
    components = fit_components(store)
    drawn = []
    for part in store.parts[:OUTLINED]:
        if np.ptp(part.raster.polygon().bounds[::2]) > 180:
            continue  # it lies on both sides of the map, or around a pole
        (height, width), t = part.grid.size, part.grid.transform(part.raster.affine)
        corners = np.array([[0, 0], [width, 0], [0, height]])
        x, y = t.a * corners[:, 0] + t.b * corners[:, 1] + t.c, t.d * corners[:, 0] + t.e * corners[:, 1] + t.f
        degrees = pyproj.Transformer.from_crs(part.raster.crs, "EPSG:4326", always_xy=True).transform(x, y)
        origin, right, down = place(np.stack(degrees, 1))
        matrix = " ".join(f"{v:.6g}" for v in (*((right - origin) / width), *((down - origin) / height), *origin))
        source = base64.b64encode(_png(part, components)).decode()
        drawn.append(
            f'<image width="{width}" height="{height}" preserveAspectRatio="none" transform="matrix({matrix})" '
            f'style="image-rendering:pixelated" href="data:image/png;base64,{source}"/>'
        )
    return drawn


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
