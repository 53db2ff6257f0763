"""What an embedding file says about itself: its facts, its columns and its GeoParquet metadata."""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyproj
import shapely
from affine import Affine
from pydantic import BaseModel, ConfigDict

from ecotone.embeddings.footprints import CellGrid, footprints

SCHEMA_VERSION = 1
FACTS_KEY = b"ecotone"
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RasterFacts(_Strict):
    """The raster that was embedded, as needed to read it again and to place its pixels.

    Attributes:
        paths: The files it was read from.
        name: Name of the file, or of the folder of several; the ``source`` of its rows.
        crs: Coordinate reference system, as an authority code or WKT.
        transform: Six coefficients a, b, c, d, e, f of pixel column and row to CRS coordinates.
        shape: Height and width in pixels.
        bands: Band names in channel order.
        unit: Name of the unit of the pixels.
        sensor: Name of the sensor.
        level: Processing level.
    """

    paths: tuple[str, ...]
    name: str
    crs: str
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[int, int]
    bands: tuple[str, ...]
    unit: str
    sensor: str | None = None
    level: str | None = None

    @property
    def affine(self) -> Affine:
        return Affine(*self.transform)

    def footprints(self, rows: np.ndarray, cols: np.ndarray, cell: int) -> np.ndarray:
        """(n,) polygons in degrees of cells of the pixel grid, as ``footprints`` makes them."""
        return footprints(rows, cols, cell, shape=self.shape, crs=self.crs, transform=self.affine)

    def polygon(self) -> shapely.Polygon:
        """The polygon of the whole raster in degrees.

        Raises:
            DataError: It crosses the antimeridian, or lies outside its CRS.
        """
        return self.footprints(np.zeros(1), np.zeros(1), max(self.shape))[0]


class StoreFacts(_Strict):
    """The facts all rows of an embedding file share.

    Attributes:
        dimension: Length D of a vector.
        per: A row is one chip (the encoder's pooled vector) or one patch (a cell of its deepest map).
        chip: Side in pixels of the windows that the encoder saw.
        overlap: Pixels by which neighbouring windows overlapped.
        cell: Side in pixels of a row's footprint.
        step: Pixels from one footprint to the next.
        min_valid: Smallest share of valid pixels that a row needed.
        conversion: Named display conversion applied before the model, such as ``rgb8``.
        gsd: Metres per pixel that the model was told; None when unknown.
        gsd_source: ``declared``, ``georeference``, ``assumed`` … or ``unknown``.
        model_hash: Hash of the model that made the vectors.
        spec_hash: Hash of that model's InputSpec.
        raster: The raster that was embedded.
        command: The command that made the file.
        ecotone_version: Version of this library.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    dimension: int
    per: Literal["chip", "patch"]
    chip: int
    overlap: int
    cell: int
    step: int
    min_valid: float
    conversion: str | None
    gsd: float | None
    gsd_source: str
    model_hash: str
    spec_hash: str
    raster: RasterFacts
    command: str
    ecotone_version: str

    @property
    def grid(self) -> CellGrid:
        return CellGrid(self.raster.shape, self.cell, self.step)


def arrow_schema(dimension: int) -> pa.Schema:
    """The columns of an embedding file with vectors of this length."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("geometry", pa.binary(), nullable=False),
            pa.field("bbox", pa.struct([pa.field(c, pa.float64(), nullable=False) for c in _CORNERS]), nullable=False),
            pa.field("row", pa.int64(), nullable=False),
            pa.field("col", pa.int64(), nullable=False),
            pa.field("valid_fraction", pa.float32(), nullable=False),
            pa.field("gsd", pa.float32()),
            pa.field("time", pa.timestamp("us", tz="UTC")),
            pa.field("source", pa.string(), nullable=False),
            pa.field("model_hash", pa.string(), nullable=False),
            pa.field("spec_hash", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), dimension), nullable=False),
        ]
    )


def geo_metadata(bounds: tuple[float, ...] | None) -> dict[str, Any]:
    """The ``geo`` entry of GeoParquet 1.1.0 (https://geoparquet.org/releases/v1.1.0) for these bounds in degrees."""
    column = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "crs": pyproj.CRS("EPSG:4326").to_json_dict(),
        "orientation": "counterclockwise",
        "covering": {"bbox": {c: ["bbox", c] for c in _CORNERS}},
        **({"bbox": list(bounds)} if bounds else {}),
    }
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def file_metadata(facts: StoreFacts, bounds: tuple[float, ...] | None = None) -> dict[bytes, bytes]:
    """Key and value metadata of the whole file; bounds (west, south, east, north) once they are known."""
    return {b"geo": json.dumps(geo_metadata(bounds)).encode(), FACTS_KEY: facts.model_dump_json().encode()}
