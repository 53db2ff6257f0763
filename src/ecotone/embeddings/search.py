"""Exact nearest-neighbour search over a store by the cosine of centred vectors."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from ecotone.embeddings.store import Store
from ecotone.errors import DataError
from ecotone.files import replacing

BLOCK = 65_536  # rows per matrix product: its temporary stays below the size of one strip of imagery


@dataclass(frozen=True)
class Hit:
    """One row of a store that resembles the query.

    Attributes:
        rank: 1 for the nearest.
        index: Row number in the store.
        id: Its id.
        distance: 1 - cosine, from 0 (same direction) to 2.
        lon: Longitude of its centre in degrees.
        lat: Latitude of its centre in degrees.
        row: First pixel row in the source raster.
        col: First pixel column in the source raster.
        valid_fraction: Share of its pixels that were observed.
        time: Acquisition time.
        source: File name of the source raster.
        geometry: Its footprint in degrees.
    """

    rank: int
    index: int
    id: str
    distance: float
    lon: float
    lat: float
    row: int
    col: int
    valid_fraction: float
    time: datetime | None
    source: str
    geometry: shapely.Geometry

    def as_json(self) -> dict[str, Any]:
        """Everything but the geometry, ready for JSON."""
        plain = {k: v for k, v in vars(self).items() if k != "geometry"}
        return {**plain, "time": self.time.isoformat() if self.time else None}


def search(
    store: Store,
    *,
    point: tuple[float, float] | None = None,
    vector: np.ndarray | None = None,
    k: int = 10,
    exclude_self: bool = True,
    centre: bool = True,
) -> list[Hit]:
    """The k rows nearest to a place or to a vector, nearest first; ties go to the earlier row.

    Vectors are centred by the store's mean first: the features of one encoder share a large common direction
    (anisotropy; Ethayarajh, EMNLP 2019), so that without it all cosines lie close to 1 and say little.

    Args:
        store: The embeddings.
        point: Longitude and latitude in degrees; the query is the row whose footprint holds it.
        vector: (D,) query vector of the store's model.
        k: How many rows.
        exclude_self: Leave out the query's own row when searching by point.
        centre: Subtract the store's mean.

    Raises:
        DataError: The point has no embedding, the vector has another length, or k is below one.
    """
    if (point is None) == (vector is None):
        raise DataError("a search needs either a point or a vector")
    if k < 1:
        raise DataError("the number of neighbours must be at least 1", found=k)
    own = None if point is None else row_at(store, point)
    query = store.vectors[own] if own is not None else np.asarray(vector, np.float32)
    if query.shape != (store.facts.dimension,):
        raise DataError(
            "the query vector has another length than the store's", found=query.shape, expected=(store.facts.dimension,)
        )
    distance = 1 - cosines(store, query, centre=centre)
    if own is not None and exclude_self:
        distance[own] = np.inf
    return hits(store, _smallest(distance, k), distance)


def row_at(store: Store, point: tuple[float, float]) -> int:
    """The row whose footprint holds a point; where footprints overlap, the one whose centre is nearest.

    Raises:
        DataError: No row holds it: it lies outside the store, or its place was dropped as not valid.
    """
    lon, lat = point
    box = store.boxes
    near = np.flatnonzero((box[:, 0] <= lon) & (lon <= box[:, 2]) & (box[:, 1] <= lat) & (lat <= box[:, 3]))
    shapes = store.geometries(near)
    inside = shapely.intersects_xy(shapes, lon, lat)
    if not inside.any():
        west, south, east, north = store.bounds
        within = west <= lon <= east and south <= lat <= north
        raise DataError(
            "there is no embedding at that point",
            found=f"longitude {lon:g}, latitude {lat:g}",
            expected=f"longitude {west:.6g} to {east:.6g} and latitude {south:.6g} to {north:.6g}",
            mend="Its place held too few valid pixels, or lies beside a rotated raster; choose a point nearby."
            if within
            else "Points are LON,LAT in degrees; check their order.",
        )
    away = shapely.distance(shapely.centroid(shapes[inside]), shapely.Point(lon, lat))
    return int(near[inside][away.argmin()])


def cosines(store: Store, query: np.ndarray, *, centre: bool = True) -> np.ndarray:
    """(n,) float32 cosine of each row with a query vector (D,).

    Raises:
        DataError: The centred query has no direction.
    """
    mean = store.mean if centre else np.zeros_like(store.mean)
    wanted = query - mean
    length = float(np.linalg.norm(wanted))
    if length <= 1e-6 * max(float(np.linalg.norm(query)), 1e-30):
        raise DataError(
            "the query vector equals the store's mean, so no row is nearer to it than another",
            mend="Use a smaller query image, a store of more varied places, or --no-centre.",
        )
    wanted = wanted / length
    out = np.empty(len(store), np.float32)
    for start in range(0, len(store), BLOCK):
        block = store.vectors[start : start + BLOCK] - mean
        norms = np.sqrt(np.einsum("nd,nd->n", block, block)).clip(1e-12)
        out[start : start + BLOCK] = block @ wanted / norms
    return out


def hits(store: Store, index: np.ndarray, distance: np.ndarray) -> list[Hit]:
    """Hits for these rows (m,), in this order, given the distance (n,) of every row."""
    shapes = store.geometries(index)
    centres = shapely.centroid(shapes)
    return [
        Hit(
            rank=rank,
            index=int(i),
            distance=float(distance[i]),
            lon=centre.x,
            lat=centre.y,
            geometry=shape,
            **{k: row[k] for k in ("id", "row", "col", "valid_fraction", "time", "source")},
        )
        for rank, (i, row, shape, centre) in enumerate(
            zip(index, store.rows(index), shapes, centres, strict=True), start=1
        )
    ]


def write_geojson(found: Sequence[Hit], path: str | Path) -> None:
    """The hits as a GeoJSON FeatureCollection of their footprints (RFC 7946)."""
    features = [
        {
            "type": "Feature",
            "id": h.id,
            "geometry": json.loads(shapely.to_geojson(h.geometry)),
            "properties": h.as_json(),
        }
        for h in found
    ]
    with replacing(Path(path)) as partial:
        partial.write_text(json.dumps({"type": "FeatureCollection", "features": features}, indent=1))


def _smallest(distance: np.ndarray, k: int) -> np.ndarray:
    """(m,) indices of the k smallest finite values in order, m <= k."""
    k = min(k, int(np.isfinite(distance).sum()))
    if k == 0:
        return np.empty(0, np.int64)
    # Everything up to the k-th value is sorted, so that ties at the cut are resolved by row and not by chance.
    candidates = np.flatnonzero(distance <= np.partition(distance, k - 1)[k - 1])
    return candidates[np.argsort(distance[candidates], kind="stable")][:k]


def parse_point(text: str) -> tuple[float, float]:
    """``LON,LAT`` in degrees.

    Raises:
        DataError: It is not two numbers in range.
    """
    parts = text.split(",")
    try:
        lon, lat = (float(p) for p in parts)
    except ValueError:
        raise DataError("a point is LON,LAT in degrees", found=repr(text), expected="for example 11.58,48.14") from None
    if not (math.isfinite(lon) and math.isfinite(lat) and abs(lon) <= 180 and abs(lat) <= 90):
        raise DataError(
            "a point is LON,LAT in degrees", found=repr(text), expected="longitude within 180, latitude within 90"
        )
    return lon, lat
