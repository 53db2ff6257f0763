"""Hits: rows that a search has found, as a table and in the formats of geographic programs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely

from ecotone.embeddings.footprints import centres
from ecotone.embeddings.store import Store
from ecotone.errors import RecipeError
from ecotone.files import replacing

FORMATS = (".geojson", ".json", ".parquet", ".geoparquet", ".gpkg")


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
        source: Path or URL of the source raster.
        geometry: Its footprint in degrees.
        probability: What the few-shot model says, from 0 to 1; None for other queries.
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
    probability: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Everything but the geometry, ready for JSON."""
        plain = {k: v for k, v in vars(self).items() if k != "geometry"}
        return {**plain, "time": self.time.isoformat() if self.time else None}


def hits_of(
    store: Store, rows: np.ndarray, distances: np.ndarray, probabilities: np.ndarray | None = None
) -> list[Hit]:
    """Hits for these rows (m,), in this order."""
    shapes = store.geometries(rows)
    middle = centres(shapes)
    facts = store.rows(rows)
    return [
        Hit(
            rank=i + 1,
            index=int(rows[i]),
            distance=float(distances[i]),
            lon=float(middle[i, 0]),
            lat=float(middle[i, 1]),
            geometry=shapes[i],
            probability=None if probabilities is None else float(probabilities[i]),
            **{k: facts[i][k] for k in ("id", "row", "col", "valid_fraction", "time", "source")},
        )
        for i in range(len(rows))
    ]


def write_hits_as(found: Sequence[Hit], path: str | Path) -> None:
    """Write footprints and figures of hits: GeoJSON (RFC 7946), GeoParquet or GeoPackage, as the ending says.

    Raises:
        RecipeError: The ending is another.
        DataError: The file cannot be written.
    """
    path = Path(path)
    check_format(path)
    if path.suffix in (".geojson", ".json"):
        return write_geojson(found, path)
    table = geopandas.GeoDataFrame([h.as_json() for h in found], geometry=[h.geometry for h in found], crs="EPSG:4326")
    with replacing(path) as partial:
        if path.suffix == ".gpkg":
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*filename extension")  # of the temporary name
                table.to_file(partial, driver="GPKG", layer="hits")
        else:
            table.to_parquet(partial, write_covering_bbox=True)


def check_format(path: Path) -> None:
    """Check the ending before any work.

    Raises:
        RecipeError: Hits are not written in that format.
    """
    if path.suffix not in FORMATS:
        raise RecipeError(f"hits cannot be written as {path.name}", expected=f"a name that ends with one of {FORMATS}")


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
