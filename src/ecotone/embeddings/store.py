"""Store: an embedding file opened for reading. Vectors and geometries are read when first needed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pydantic import ValidationError

from ecotone.embeddings.schema import FACTS_KEY, SCHEMA_VERSION, StoreFacts
from ecotone.embeddings.writer import Rows
from ecotone.errors import DataError

DEFAULT_NAME = "embeddings.parquet"
SUFFIXES = (".parquet", ".geoparquet")


class Store:
    """Embeddings with their ground footprints and provenance.

    Args:
        path: The GeoParquet file.
        facts: The facts all its rows share.
        file: The opened file.
    """

    def __init__(self, path: Path, facts: StoreFacts, file: pq.ParquetFile) -> None:
        self.path, self.facts, self._file = path, facts, file

    def __len__(self) -> int:
        return self._file.metadata.num_rows

    @cached_property
    def vectors(self) -> np.ndarray:
        """(n, D) float32."""
        out = np.empty((len(self), self.facts.dimension), np.float32)
        at = 0
        for block in self.blocks():
            out[at : at + len(block.row)] = block.vectors
            at += len(block.row)
        return out

    @cached_property
    def mean(self) -> np.ndarray:
        """(D,) float32 mean vector."""
        return self.vectors.mean(0, dtype=np.float64).astype(np.float32)

    @cached_property
    def boxes(self) -> np.ndarray:
        """(n, 4) float64 west, south, east, north of each row in degrees."""
        column = self._column("bbox")
        return np.stack([np.asarray(part) for part in column.flatten()], 1)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north of all rows in degrees."""
        low, high = self.boxes.min(0), self.boxes.max(0)
        return float(low[0]), float(low[1]), float(high[2]), float(high[3])

    def geometries(self, index: np.ndarray | list[int]) -> np.ndarray:
        """(m,) shapely polygons in degrees of these rows."""
        return shapely.from_wkb(self._geometry.take(pa.array(index, pa.int64())).to_numpy(zero_copy_only=False))

    def rows(self, index: np.ndarray | list[int]) -> list[dict[str, Any]]:
        """Id, row, col, valid_fraction, gsd, time and source of these rows."""
        return self._facts_of_rows.take(pa.array(index, pa.int64())).to_pylist()

    def blocks(self) -> Iterator[Rows]:
        """The rows in file order, one row group at a time: bounded memory."""
        for group in range(self._file.num_row_groups):
            table = self._file.read_row_group(group, columns=["row", "col", "valid_fraction", "vector"])
            flat = table["vector"].combine_chunks().flatten().to_numpy()
            yield Rows(
                row=table["row"].to_numpy(),
                col=table["col"].to_numpy(),
                valid_fraction=table["valid_fraction"].to_numpy(),
                vectors=flat.reshape(-1, self.facts.dimension),
            )

    @cached_property
    def _geometry(self) -> pa.Array:
        return self._column("geometry")

    @cached_property
    def _facts_of_rows(self) -> pa.Table:
        return self._file.read(columns=["id", "row", "col", "valid_fraction", "gsd", "time", "source"])

    def _column(self, name: str) -> Any:
        return self._file.read(columns=[name])[name].combine_chunks()


def open_store(path: str | Path) -> Store:
    """Open an embedding file, or the folder that holds one.

    Raises:
        DataError: There is no such file, it is damaged, or it was not written by ``ecotone embed``.
    """
    path = Path(path)
    file_path = path / DEFAULT_NAME if path.is_dir() else path
    if not file_path.is_file():
        raise DataError(
            f"no embeddings at {path}", mend="Make them with: ecotone embed RASTER --model MODEL --out PATH"
        )
    try:
        file = pq.ParquetFile(file_path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file_path} is not a readable Parquet file", found=str(error).splitlines()[0]) from error
    return Store(file_path, _facts(file_path, file), file)


def _facts(path: Path, file: pq.ParquetFile) -> StoreFacts:
    stored = (file.metadata.metadata or {}).get(FACTS_KEY)
    if stored is None:
        raise DataError(
            f"{path} holds no embeddings of this library", mend="Give a file that ecotone embed has written."
        )
    try:
        return StoreFacts.model_validate_json(stored)
    except ValidationError as error:
        raise DataError(
            f"the embedding facts in {path} cannot be read",
            found="; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()),
            expected=f"schema version {SCHEMA_VERSION}",
            mend="Embed the raster again with this version.",
        ) from error
