"""What an index says about itself: what it covers, of which model, and what it finds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ecotone.embeddings.parts import Part
from ecotone.errors import DataError
from ecotone.files import replacing

FORMAT = 2
FACTS = "index.json"
Kind = Literal["exact", "hnsw"]


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
    """

    name: str
    number: int
    rows: int
    size: int
    modified: int

    @classmethod
    def of(cls, part: Part, number: int) -> SourceEntry:
        """The entry of a source of a store as it is now."""
        stat = part.path.stat()
        return cls(name=part.path.stem, number=number, rows=part.count, size=stat.st_size, modified=stat.st_mtime_ns)

    def covers(self, part: Part) -> bool:
        """Whether the store's file is still the one that was indexed."""
        return self == SourceEntry.of(part, self.number)


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
        checksums: CRC-32 of each of its files.
        graph_removed: Rows that the graph still passes through and no longer gives.
        recall_at_10: Share of the exact ten nearest that it finds, over sampled rows.
        sampled: How many rows were sampled.
        queries_per_s: Of those searches.
    """

    format_version: Literal[2] = FORMAT
    kind: Kind
    dimension: int
    dtype: str
    model_hash: str
    spec_hash: str
    generation: int
    update: int
    sources: tuple[SourceEntry, ...]
    expansion: int | None = None
    checksums: dict[str, int] = {}
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
        own = {f"{s.number}.{kind}.npy" for s in self.sources for kind in ("vectors", "codes", "scales")}
        return own | {f"{self.update}.state.npz"} | ({f"{self.update}.usearch"} if self.kind == "hnsw" else set())

    @property
    def whole(self) -> set[str]:
        """Names of the files that a search reads from end to end; of the others it reads rows."""
        rows = ("vectors.npy", "codes.npy") if self.kind == "hnsw" else ("vectors.npy",)
        return {name for name in self.files if not name.endswith(rows)}


def index_folder(path: Path) -> Path:
    """Where the index of the store at this path lies: ``index`` in its folder, or beside its one file."""
    return path / "index" if path.is_dir() else path.with_suffix(".index")


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
