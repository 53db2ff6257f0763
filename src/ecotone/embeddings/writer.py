"""Write an embedding file row group by row group."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from ecotone.embeddings.fidelity import FidelityMeter
from ecotone.embeddings.quantise import dequantise, quantise
from ecotone.embeddings.schema import CONSTANT_COLUMNS, VECTOR_TYPES, SourceFacts, arrow_schema, file_metadata
from ecotone.errors import DataError

GROUP_BYTES = 16 * 2**20  # one row group: large enough for fast scans, small beside a strip of imagery
ROW_BYTES = 500  # what the footprint, id and times of a row take while it is written


@dataclass(frozen=True)
class Rows:
    """Embeddings of n cells.

    Attributes:
        row: (n,) first pixel row.
        col: (n,) first pixel column.
        valid_fraction: (n,) share of the cell that was observed.
        vectors: (n, D) float32.
        time: Acquisition time of all of them.
    """

    row: np.ndarray
    col: np.ndarray
    valid_fraction: np.ndarray
    vectors: np.ndarray
    time: datetime | None = None


class StoreWriter:
    """Collects rows and writes them in row groups to ``path``, which should be a temporary name.

    Args:
        path: The file to write.
        facts: The facts of the source.

    Attributes:
        facts: The same; once closed, with what the type of the vectors lost.
        rows: Rows written so far.
    """

    def __init__(self, path: Path, facts: SourceFacts) -> None:
        self.facts, self.rows = facts, 0
        # Some readers see only the metadata of the Arrow schema, which is fixed before the bounds are known.
        self._schema = arrow_schema(facts.dimension, facts.dtype).with_metadata(file_metadata(facts))
        encoding: dict[str, Any] = {"compression": "zstd", "use_dictionary": list(CONSTANT_COLUMNS)}
        if facts.dtype == "int8":  # Parquet keeps them as four bytes, of which this encoding packs one
            encoding["column_encoding"] = {"vector.list.element": "DELTA_BINARY_PACKED"}
        self._file = pq.ParquetWriter(path, self._schema, write_page_checksum=True, **encoding)
        self._size = max(256, GROUP_BYTES // (4 * facts.dimension + ROW_BYTES))
        # One buffer for all row groups: keeping the small arrays of each batch would fragment the heap.
        self._waiting = Rows(
            row=np.empty(self._size, np.int64),
            col=np.empty(self._size, np.int64),
            valid_fraction=np.empty(self._size, np.float32),
            vectors=np.empty((self._size, facts.dimension), np.float32),
        )
        self._times: list[datetime | None] = []
        self._meter = None if facts.dtype == "float32" else FidelityMeter(math.prod(facts.grid.size))
        self._bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])

    def write(self, rows: Rows) -> None:
        """Append rows.

        Raises:
            DataError: A vector is not finite, or a cell has no polygon.
        """
        if not len(rows.row):
            return
        if not np.isfinite(rows.vectors).all():
            raise DataError(
                f"the model gives values that are not finite for {self.facts.raster.name} near pixel row {rows.row[0]}",
                mend="Check the model and the unit of the raster.",
            )
        start = 0
        while start < len(rows.row):
            start += self._take(rows, start)
            if len(self._times) == self._size:
                self._flush()
        self.rows += len(rows.row)

    def close(self) -> None:
        """Write what waits and the metadata."""
        try:
            self._flush()
            if self.rows:
                if self._meter:
                    self.facts = self.facts.model_copy(update={"fidelity": self._meter.result()})
                self._file.add_key_value_metadata(file_metadata(self.facts, tuple(self._bounds.tolist())))
        finally:
            self._file.close()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self.close()
        else:
            self._file.close()

    def _take(self, rows: Rows, start: int) -> int:
        """Copy what still fits and return how many rows that is."""
        at = len(self._times)
        count = min(self._size - at, len(rows.row) - start)
        for name in ("row", "col", "valid_fraction", "vectors"):
            getattr(self._waiting, name)[at : at + count] = getattr(rows, name)[start : start + count]
        self._times += [rows.time] * count
        return count

    def _flush(self) -> None:
        n, waiting = len(self._times), self._waiting
        if n:
            part = Rows(waiting.row[:n], waiting.col[:n], waiting.valid_fraction[:n], waiting.vectors[:n])
            self._file.write_table(self._table(part, self._times), row_group_size=n)
            self._times = []

    def _table(self, rows: Rows, times: list[datetime | None]) -> pa.Table:
        facts, raster, n = self.facts, self.facts.raster, len(rows.row)
        shapes = raster.footprints(rows.row, rows.col, facts.cell)
        boxes = shapely.bounds(shapes)
        self._bounds[:2] = np.minimum(self._bounds[:2], boxes[:, :2].min(0))
        self._bounds[2:] = np.maximum(self._bounds[2:], boxes[:, 2:].max(0))
        box_type = self._schema.field("bbox").type
        stored, scale = quantise(rows.vectors, facts.dtype)
        if self._meter:
            self._meter.add(rows.vectors, dequantise(stored, scale))
        values = {
            "id": [f"{facts.source_id}#{r},{c}" for r, c in zip(rows.row, rows.col, strict=True)],
            "geometry": shapely.to_wkb(shapes),
            "bbox": pa.StructArray.from_arrays([pa.array(b) for b in boxes.T], fields=list(box_type)),
            "row": rows.row,
            "col": rows.col,
            "valid_fraction": rows.valid_fraction,
            "gsd": [facts.gsd] * n,
            "time": times,
            "source": [facts.uri] * n,
            "model_hash": [facts.model_hash] * n,
            "spec_hash": [facts.spec_hash] * n,
            "scale": scale,
            "vector": pa.FixedSizeListArray.from_arrays(
                pa.array(stored.ravel(), VECTOR_TYPES[facts.dtype]), facts.dimension
            ),
        }
        return pa.Table.from_arrays([_array(values[f.name], f) for f in self._schema], schema=self._schema)


def _array(values: Any, field: pa.Field) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values, field.type)
