"""Store: embeddings opened for reading. Vectors and geometries are read when first needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import shapely

from ecotone.embeddings.folder import FACTS_FILE, check_facts, read_facts, source_files
from ecotone.embeddings.footprints import centres
from ecotone.embeddings.parts import Part, of_row, open_part
from ecotone.embeddings.schema import StoreFacts
from ecotone.embeddings.writer import Rows
from ecotone.errors import DataError

if TYPE_CHECKING:
    from ecotone.embeddings.hits import Hit
    from ecotone.embeddings.scan import Scan

VERSION_1_NAME = "embeddings.parquet"  # of the one file in a folder without shared facts


class Store:
    """Embeddings with their ground footprints and provenance: one file, or a folder with one file per source.

    Args:
        path: The GeoParquet file, or the folder.
        facts: The facts all rows share.
        parts: The sources in the order of their rows.
    """

    def __init__(self, path: Path, facts: StoreFacts, parts: Sequence[Part]) -> None:
        self.path, self.facts, self.parts = path, facts, tuple(parts)

    def __len__(self) -> int:
        return self.parts[-1].first + self.parts[-1].count

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
        total = np.zeros(self.facts.dimension)
        for block in self.blocks():
            total += block.vectors.sum(0, dtype=np.float64)
        return (total / len(self)).astype(np.float32)

    @cached_property
    def boxes(self) -> np.ndarray:
        """(n, 4) float64 west, south, east, north of each row in degrees."""
        return np.stack([np.asarray(part) for part in self._column("bbox").flatten()], 1)

    @cached_property
    def centres(self) -> np.ndarray:
        """(n, 2) longitude and latitude of the middle of each row's footprint."""
        middle = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
        split = np.flatnonzero(self.boxes[:, 2] - self.boxes[:, 0] > 180)
        if len(split):
            middle[split] = centres(self.geometries(split))
        return middle

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

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Columns of all rows as they are stored.

        Args:
            names: ``id``, ``row``, ``col``, ``valid_fraction``, ``gsd``, ``time``, ``source``, ``bbox`` …

        Raises:
            DataError: There is no such column, or a file is damaged.
        """
        return pa.concat_tables(part.read(names) for part in self.parts)

    def blocks(self) -> Iterator[Rows]:
        """The rows in order with float32 vectors, one row group at a time: bounded memory."""
        for part in self.parts:
            yield from part.blocks()

    @cached_property
    def scan(self) -> Scan:
        """Its rows for searching: through its index where that is whole and up to date, else in full precision."""
        from ecotone.embeddings.index import open_scan  # which needs this class

        return open_scan(self)

    def search(self, **query: Any) -> list[Hit]:
        """The rows nearest to a query, as ``ecotone.search`` finds them, whose arguments it takes."""
        from ecotone.embeddings.search import search

        return search(self, **query)

    def part_of(self, index: int) -> Part:
        """The source of a row."""
        return of_row(self.parts, index)

    def _repr_html_(self) -> str:
        """The facts of the store and a map of its sources, for notebooks."""
        from ecotone.embeddings.html import store_html  # which itself reads stores

        return store_html(self)

    @cached_property
    def _geometry(self) -> pa.Array:
        return self._column("geometry")

    @cached_property
    def _facts_of_rows(self) -> pa.Table:
        return self.columns(["id", "row", "col", "valid_fraction", "gsd", "time", "source"])

    def _column(self, name: str) -> Any:
        return self.columns([name])[name].combine_chunks()


def open_store(path: str | Path) -> Store:
    """Open an embedding file, or a folder with one file per source.

    Raises:
        DataError: There is no such store, or it has no rows; a file is damaged, was not written by ``ecotone embed``,
            or does not belong into the folder.
    """
    path = located(path)
    if path.is_dir():
        return _open_folder(path)
    part = open_part(path)
    return Store(path, part.facts.shared, [part])


def located(path: str | Path) -> Path:
    """The file of a store, or its folder if that has one file per source.

    Raises:
        DataError: There is no store.
    """
    path = Path(path)
    if (path / FACTS_FILE).is_file():
        return path
    file = path / VERSION_1_NAME if path.is_dir() else path
    if not file.is_file():
        raise DataError(
            f"no embeddings at {path}", mend="Make them with: ecotone embed RASTER --model MODEL --out PATH"
        )
    return file


def _open_folder(folder: Path) -> Store:
    facts, parts, first = read_facts(folder), [], 0
    for file in source_files(folder):
        part = open_part(file, first)
        check_facts(file, part.facts.shared.model_dump(), facts)
        parts.append(part)
        first += part.count
    if not first:
        raise DataError(f"the store {folder} has no rows", mend="Add a source with ecotone embed.")
    return Store(folder, facts, parts)
