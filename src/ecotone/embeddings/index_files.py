"""The files of an index: what they are called, how they are written, and whether they are whole."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from ecotone.embeddings.index_codes import encode
from ecotone.embeddings.parts import Part
from ecotone.embeddings.store import Store
from ecotone.errors import DataError
from ecotone.files import replacing

FORMAT = 1
FACTS = "index.json"
Kind = Literal["exact", "hnsw"]
_ROWS = 8192  # rows read, turned or summed at a time


class UnusableIndex(DataError):
    """An index that is damaged, or does not belong to the store as it is now."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceEntry(_Strict):
    """One source that an index covers.

    Attributes:
        name: Stem of its file in the store.
        number: Its number in the index, never used again for other rows.
        rows: How many rows it has.
        size: Bytes of its file in the store.
        modified: When that file was last modified, in nanoseconds since 1970.
        checksum: CRC-32 of its codes.
    """

    name: str
    number: int
    rows: int
    size: int
    modified: int
    checksum: int = 0

    @classmethod
    def of(cls, part: Part, number: int) -> SourceEntry:
        """The entry of a source of a store as it is now."""
        stat = part.path.stat()
        return cls(name=part.path.stem, number=number, rows=part.count, size=stat.st_size, modified=stat.st_mtime_ns)

    def covers(self, part: Part) -> bool:
        """Whether the store's file is still the one that was indexed."""
        return self == SourceEntry.of(part, self.number).model_copy(update={"checksum": self.checksum})


class IndexFacts(_Strict):
    """What an index says about itself.

    Attributes:
        kind: ``exact``, or ``hnsw`` with a graph beside the codes.
        dimension: Length D of a vector.
        dtype: How the store keeps its vectors.
        model_hash: Hash of the model that made the vectors.
        spec_hash: Hash of that model's InputSpec.
        generation: Number of the folder of its files; a rebuild begins another.
        update: Number of the state of that folder's files.
        sources: What it covers, in the order of the store's rows.
        expansion: Length of the candidate list of a search in the graph; None without one.
        graph_bytes: Size of the graph's file.
        graph_removed: Rows that the graph still passes through and no longer gives.
        recall_at_10: Share of the exact ten nearest that it finds, over sampled rows.
        sampled: How many rows were sampled.
        queries_per_s: Of those searches.
    """

    format_version: Literal[1] = FORMAT
    kind: Kind
    dimension: int
    dtype: str
    model_hash: str
    spec_hash: str
    generation: int
    update: int
    sources: tuple[SourceEntry, ...]
    expansion: int | None = None
    graph_bytes: int = 0
    graph_removed: int = 0
    recall_at_10: float | None = None
    sampled: int = 0
    queries_per_s: float | None = None

    @property
    def rows(self) -> int:
        return sum(s.rows for s in self.sources)

    @property
    def files(self) -> set[str]:
        """Names of the files in the folder of its generation."""
        own = {f"{s.number}.{kind}.npy" for s in self.sources for kind in ("vectors", "codes", "errors")}
        return own | {f"{self.update}.state.npz"} | ({f"{self.update}.usearch"} if self.kind == "hnsw" else set())


@dataclass(frozen=True)
class State:
    """What all rows of an index share, in one file.

    Attributes:
        rotation: (D, D) float32 rotation before rounding.
        centre: (D,) float32 subtracted before rounding; the mean when the index was first built.
        mean: (D,) float32 mean of the rows.
        norms: (n,) float32 norms of the rows after subtracting the mean.
        plain_norms: (n,) float32 norms of the rows.
    """

    rotation: np.ndarray
    centre: np.ndarray
    mean: np.ndarray
    norms: np.ndarray
    plain_norms: np.ndarray


def index_folder(store: Store) -> Path:
    """Where the index of a store lies: ``index`` in its folder, or beside its one file."""
    return store.path / "index" if store.path.is_dir() else store.path.with_suffix(".index")


def read_index_facts(folder: Path) -> IndexFacts | None:
    """The facts of an index; None where there is none.

    Raises:
        UnusableIndex: They are damaged or of another version.
    """
    try:
        return IndexFacts.model_validate_json((folder / FACTS).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValidationError, OSError) as error:
        raise UnusableIndex(
            f"the facts of the index {folder} cannot be read", expected=f"format version {FORMAT}"
        ) from error


def write_facts(folder: Path, facts: IndexFacts) -> None:
    """Make this state of the index the one in force."""
    with replacing(folder / FACTS) as temporary:
        temporary.write_text(facts.model_dump_json(indent=1) + "\n")


def write_vectors(folder: Path, part: Part, number: int) -> None:
    """Copy a source's vectors to where single rows are read fast."""
    with replacing(folder / f"{number}.vectors.npy") as temporary:
        shape = (part.count, part.facts.dimension)
        if not part.count:
            return _save(temporary, np.empty(shape, np.float32))
        out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        at = 0
        for block in part.blocks():
            out[at : at + len(block.vectors)] = block.vectors
            at += len(block.vectors)
        out.flush()


def write_codes(folder: Path, entry: SourceEntry, centre: np.ndarray, rotation: np.ndarray) -> SourceEntry:
    """Round a source's vectors; the entry gets the checksum of the codes."""
    vectors = load_vectors(folder, entry, len(centre))
    parts = [encode(v - centre, rotation) for v in row_blocks(vectors)]
    codes = np.concatenate([p.codes for p in parts])
    errors = np.concatenate([np.stack([p.scale, p.byte_error, p.nibble_error], 1) for p in parts])
    for kind, array in (("codes", codes), ("errors", errors)):
        with replacing(folder / f"{entry.number}.{kind}.npy") as temporary:
            _save(temporary, array)
    return entry.model_copy(update={"checksum": zlib.crc32(codes.data)})


def load_vectors(folder: Path, entry: SourceEntry, dimension: int) -> np.ndarray:
    """(rows, D) float32, mapped.

    Raises:
        UnusableIndex: The file is missing or damaged.
    """
    return load(folder / f"{entry.number}.vectors.npy", (entry.rows, dimension), np.float32)


def load(path: Path, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """An array of a file, mapped and not read.

    Raises:
        UnusableIndex: The file is missing, damaged or of another shape.
    """
    try:
        array = np.load(path, mmap_mode="r" if shape[0] else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UnusableIndex(f"{path} is missing or damaged", found=str(error).splitlines()[0]) from error
    if array.shape != shape or array.dtype != dtype:
        found = f"{array.dtype} {array.shape}"
        raise UnusableIndex(f"{path} is damaged", found=found, expected=f"{np.dtype(dtype)} {shape}")
    return array


def write_state(folder: Path, update: int, state: State) -> None:
    """Keep what all rows share."""
    with replacing(folder / f"{update}.state.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, **vars(state))


def read_state(folder: Path, facts: IndexFacts) -> State:
    """What all rows share.

    Raises:
        UnusableIndex: It is missing or damaged.
    """
    path = folder / f"{facts.update}.state.npz"
    try:
        with np.load(path, allow_pickle=False) as held:
            state = State(**{name: held[name] for name in State.__dataclass_fields__})
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UnusableIndex(f"{path} is missing or damaged", found=str(error).splitlines()[0]) from error
    if len(state.norms) != facts.rows or state.mean.shape != (facts.dimension,):
        raise UnusableIndex(f"{path} is damaged", found=f"{len(state.norms)} rows", expected=facts.rows)
    return state


def row_blocks(array: np.ndarray) -> list[np.ndarray]:
    """Runs of rows that fit into memory; one, which is empty, of an empty array."""
    return [array[a : a + _ROWS] for a in range(0, max(1, len(array)), _ROWS)]


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)
