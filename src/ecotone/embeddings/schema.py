"""What an embedding file says about itself: its facts, its columns and its GeoParquet metadata."""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyproj
import shapely
from affine import Affine
from pydantic import BaseModel, ConfigDict, model_validator

from ecotone.embeddings.footprints import CellGrid, footprints

SCHEMA_VERSION = 2
FACTS_KEY = b"ecotone"
CONSTANT_COLUMNS = ("source", "model_hash", "spec_hash")  # one value in all rows of a file
Dtype = Literal["float32", "float16", "int8"]
VECTOR_TYPES = {"float32": pa.float32(), "float16": pa.float16(), "int8": pa.int8()}
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RasterFacts(_Strict):
    """The raster that was embedded, as needed to read it again and to place its pixels.

    Attributes:
        paths: The files it was read from.
        name: Name of the file, or of the folder of several.
        crs: Coordinate reference system, as an authority code or WKT.
        transform: Six coefficients a, b, c, d, e, f of pixel column and row to CRS coordinates.
        shape: Height and width in pixels.
        bands: Band names in channel order.
        unit: Name of the unit of the pixels.
        sensor: Name of the sensor.
        level: Processing level.
        mask: What its quality layer left out, such as ``clouds,snow``.
        origin: What a product's metadata says that bears on the pixels, such as its baseline and offset.
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
    mask: str | None = None
    origin: dict[str, str] = {}

    @property
    def affine(self) -> Affine:
        return Affine(*self.transform)

    def footprints(self, rows: np.ndarray, cols: np.ndarray, cell: int) -> np.ndarray:
        """(n,) shapes in degrees of cells of the pixel grid, as ``footprints`` makes them."""
        return footprints(rows, cols, cell, shape=self.shape, crs=self.crs, transform=self.affine)

    def polygon(self) -> shapely.Polygon | shapely.MultiPolygon:
        """The polygon of the whole raster in degrees; of several parts where it crosses the antimeridian.

        Raises:
            DataError: Part of it lies outside its CRS.
        """
        return self.footprints(np.zeros(1), np.zeros(1), max(self.shape))[0]


class Fidelity(_Strict):
    """What storing vectors in fewer bytes lost.

    Attributes:
        mean_cosine: Mean cosine between original and stored vectors.
        recall_at_10: Mean share of the ten nearest neighbours, among a sample of the rows, that the stored vectors
            find; None where there are too few rows to tell.
        rows: Rows that the mean is over.
        sample: Rows whose neighbours were compared.
    """

    mean_cosine: float
    recall_at_10: float | None
    rows: int
    sample: int


class StoreFacts(_Strict):
    """The facts that all rows of a store share, whatever source they come from.

    Attributes:
        dimension: Length D of a vector.
        per: A row is one chip (the encoder's pooled vector) or one patch (a cell of its deepest map).
        chip: Side in pixels of the windows that the encoder saw.
        overlap: Pixels by which neighbouring windows overlapped.
        cell: Side in pixels of a row's footprint.
        step: Pixels from one footprint to the next.
        min_valid: Smallest share of valid pixels that a row needed.
        conversion: Named display conversion applied before the model, such as ``rgb8``.
        dtype: How vectors are stored; ``int8`` has one scale per row, ``vector = scale * stored``.
        model_hash: Hash of the model that made the vectors.
        spec_hash: Hash of that model's InputSpec.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    dimension: int
    per: Literal["chip", "patch"]
    chip: int
    overlap: int
    cell: int
    step: int
    min_valid: float
    conversion: str | None
    dtype: Dtype = "float32"
    model_hash: str
    spec_hash: str

    @property
    def shared(self) -> StoreFacts:
        """These facts without those of one source."""
        return StoreFacts(**{name: getattr(self, name) for name in StoreFacts.model_fields})


class SourceFacts(StoreFacts):
    """The facts of one embedding file: those of its store, and those of the one source that it holds.

    Attributes:
        source_id: Name of the source, unique within its store.
        uri: Full path or URL of the source; the ``source`` of its rows.
        choices: What the user declared about it, by the argument of ``open_raster`` (and ``at_gsd``).
        stamp: Sizes and times of change of its files; None where they are not local.
        gsd: Metres per pixel that the model was told; None when unknown.
        gsd_source: ``declared``, ``georeference``, ``assumed`` … or ``unknown``.
        raster: The raster that was embedded, for a model of several roles that of the first.
        others: The rasters of its other roles, by role.
        fidelity: What the type of the vectors lost; None for ``float32``, which loses nothing.
        command: The command that made the file.
        ecotone_version: Version of this library.
    """

    source_id: str
    uri: str
    choices: dict[str, Any] = {}
    stamp: str | None = None
    gsd: float | None
    gsd_source: str
    raster: RasterFacts
    others: dict[str, RasterFacts] = {}
    fidelity: Fidelity | None = None
    command: str
    ecotone_version: str

    @model_validator(mode="before")
    @classmethod
    def _from_version_1(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("schema_version") == 1 and "raster" in data:
            raster = data["raster"]
            return {
                **data,
                "schema_version": SCHEMA_VERSION,
                "source_id": raster["name"],
                "uri": raster["paths"][0],
            }
        return data

    @property
    def grid(self) -> CellGrid:
        """The cells of the source's rows."""
        return CellGrid(self.raster.shape, self.cell, self.step)


def arrow_schema(dimension: int, dtype: Dtype = "float32") -> pa.Schema:
    """The columns of an embedding file with vectors of this length and type."""
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
            *(pa.field(name, pa.string(), nullable=False) for name in CONSTANT_COLUMNS),
            *([pa.field("scale", pa.float32(), nullable=False)] if dtype == "int8" else []),
            pa.field("vector", pa.list_(VECTOR_TYPES[dtype], dimension), nullable=False),
        ]
    )


def geo_metadata(bounds: tuple[float, ...] | None) -> dict[str, Any]:
    """The ``geo`` entry of GeoParquet 1.1.0 (https://geoparquet.org/releases/v1.1.0) for these bounds in degrees."""
    column = {
        "encoding": "WKB",
        "geometry_types": ["Polygon", "MultiPolygon"],
        "crs": pyproj.CRS("EPSG:4326").to_json_dict(),
        "orientation": "counterclockwise",
        "covering": {"bbox": {c: ["bbox", c] for c in _CORNERS}},
        **({"bbox": list(bounds)} if bounds else {}),
    }
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def file_metadata(facts: SourceFacts, bounds: tuple[float, ...] | None = None) -> dict[bytes, bytes]:
    """Key and value metadata of the whole file; bounds (west, south, east, north) once they are known."""
    return {b"geo": json.dumps(geo_metadata(bounds)).encode(), FACTS_KEY: facts.model_dump_json().encode()}
