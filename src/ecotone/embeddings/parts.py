"""Part: the embeddings of one source, one GeoParquet file of a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from ecotone.embeddings.footprints import CellGrid
from ecotone.embeddings.quantise import dequantise
from ecotone.embeddings.schema import FACTS_KEY, SCHEMA_VERSION, RasterFacts, SourceFacts
from ecotone.embeddings.writer import Rows
from ecotone.errors import DataError

_MEND = "Delete it and run the same ecotone embed again: only what is missing is made anew."


@dataclass(frozen=True)
class Part:
    """The rows of one source.

    Attributes:
        path: Its GeoParquet file.
        facts: What the file says about itself.
        first: Number of its first row within the store.
        count: How many rows it has.
    """

    path: Path
    facts: SourceFacts
    first: int
    count: int

    @property
    def raster(self) -> RasterFacts:
        """The raster that was embedded; its sensor, CRS and grid."""
        return self.facts.raster

    @property
    def grid(self) -> CellGrid:
        """The cells of its rows on the raster's pixels."""
        return self.facts.grid

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Some columns as they are stored.

        Raises:
            DataError: The file is damaged, or has no such column.
        """
        with _open(self.path) as file:
            unknown = [c for c in columns if c not in file.schema_arrow.names]
            if unknown:
                raise DataError(
                    f"{self.path} has no column {unknown[0]!r}", expected=", ".join(file.schema_arrow.names)
                )
            return _reading(self.path, lambda: file.read(columns=list(columns)))

    def blocks(self) -> Iterator[Rows]:
        """Its rows in order with float32 vectors, one row group at a time: bounded memory."""
        for table in self.tables(["row", "col", "valid_fraction"]):
            flat = table["vector"].combine_chunks().flatten().to_numpy()
            scale = table["scale"].to_numpy() if self.facts.dtype == "int8" else None
            yield Rows(
                row=table["row"].to_numpy(),
                col=table["col"].to_numpy(),
                valid_fraction=table["valid_fraction"].to_numpy(),
                vectors=dequantise(flat.reshape(-1, self.facts.dimension), scale),
            )

    def verify(self) -> None:
        """Read all that is stored, one row group at a time.

        Raises:
            DataError: The file is damaged.
        """
        with _open(self.path) as file:
            for group in range(file.num_row_groups):
                _reading(self.path, lambda group=group: file.read_row_group(group))

    def tables(self, columns: Sequence[str], between: tuple[int, int] | None = None) -> Iterator[pa.Table]:
        """Its vectors and some columns as they are stored, one row group at a time.

        Args:
            columns: Beside ``vector``, and ``scale`` where there is one.
            between: First pixel row and the one after the last; row groups without a row there are left out.

        Raises:
            DataError: The file is damaged.
        """
        wanted = [*columns, "vector", *(["scale"] if self.facts.dtype == "int8" else [])]
        with _open(self.path) as file:
            for group in range(file.num_row_groups):
                if between is None or _reaches(file, group, between):
                    yield _reading(self.path, lambda group=group: file.read_row_group(group, columns=wanted))


def open_part(path: Path, first: int = 0) -> Part:
    """Read what an embedding file says about itself.

    Args:
        path: The file.
        first: Number of its first row within the store.

    Raises:
        DataError: It is damaged, or ``ecotone embed`` did not write it.
    """
    with _open(path) as file:
        return Part(path, _facts(path, file), first, file.metadata.num_rows)


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError) as error:
        found = str(error).splitlines()[0]
        raise DataError(f"{path} is not a readable Parquet file", found=found, mend=_MEND) from error


def _reading(path: Path, read: Callable[[], pa.Table]) -> pa.Table:
    try:
        return read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is damaged", found=str(error).splitlines()[0], mend=_MEND) from error


def _reaches(file: pq.ParquetFile, group: int, between: tuple[int, int]) -> bool:
    """Whether a row group has cells that begin in these pixel rows, by its statistics."""
    meta = file.metadata.row_group(group)
    found = next(c for c in map(meta.column, range(meta.num_columns)) if c.path_in_schema == "row").statistics
    return found is None or (found.min < between[1] and found.max >= between[0])


def _facts(path: Path, file: pq.ParquetFile) -> SourceFacts:
    stored = (file.metadata.metadata or {}).get(FACTS_KEY)
    if stored is None:
        raise DataError(
            f"{path} holds no embeddings of this library", mend="Give a file that ecotone embed has written."
        )
    try:
        return SourceFacts.model_validate_json(stored)
    except ValidationError as error:
        raise bad_facts(path, error) from error


def bad_facts(path: Path, error: ValidationError) -> DataError:
    """The error for facts that this version cannot read."""
    return DataError(
        f"the embedding facts in {path} cannot be read",
        found="; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()),
        expected=f"schema version {SCHEMA_VERSION}",
        mend="Embed the raster again with this version.",
    )


def of_row(parts: Sequence[Part], index: int) -> Part:
    """The part that holds a row of the store."""
    firsts = np.array([p.first for p in parts])
    return parts[int(np.searchsorted(firsts, index, side="right")) - 1]
