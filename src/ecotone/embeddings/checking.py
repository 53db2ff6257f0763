"""Whether all files of a store and of its index are whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ecotone.embeddings.folder import read_facts, source_files
from ecotone.embeddings.index import check_cover
from ecotone.embeddings.index_facts import IndexFacts, UnusableIndex, index_folder, read_index_facts
from ecotone.embeddings.index_files import check_files
from ecotone.embeddings.parts import open_part
from ecotone.embeddings.store import located, open_store
from ecotone.errors import DataError


@dataclass(frozen=True)
class StoreCheck:
    """What a check of a store found.

    Attributes:
        sources: How many sources it has.
        index_files: How many files its index has; 0 without one.
        damaged: A sentence with the mend for each file that is damaged.
        stale: Why the index does not fit the store; None if it does, or there is none, or a file is damaged.
    """

    sources: int
    index_files: int
    damaged: tuple[str, ...]
    stale: str | None


def check_store(path: str | Path) -> StoreCheck:
    """Read every row of a store and every file of its index, and compare them with their checksums.

    Args:
        path: A ``.parquet`` file or a folder.

    Raises:
        DataError: There is no store.
    """
    place = located(path)
    files = source_files(place) if place.is_dir() else [place]
    damaged = _problems(lambda: read_facts(place)) if place.is_dir() else []
    for file in files:
        damaged += _problems(lambda file=file: open_part(file).verify())
    if not damaged:  # the facts of all are whole, but may not agree
        damaged += _problems(lambda: open_store(place))
    try:
        facts = read_index_facts(index_folder(place))
        damaged += _index_problems(place, facts) if facts else []
    except UnusableIndex as error:
        facts = None
        damaged.append(f"{error} {_mend(place)}")
    stale = _problems(lambda: check_cover(open_store(place), facts)) if facts and not damaged else []
    return StoreCheck(len(files), 1 + len(facts.files) if facts else 0, tuple(damaged), stale[0] if stale else None)


def _index_problems(place: Path, facts: IndexFacts) -> list[str]:
    home = index_folder(place) / str(facts.generation)
    found = [p for name in sorted(facts.files) for p in _problems(lambda name=name: check_files(home, facts, [name]))]
    return [f"{p} {_mend(place)}" for p in found]


def _problems(work: Callable[[], object]) -> list[str]:
    """The sentence of the error that some work ends with, if it does."""
    try:
        work()
    except DataError as error:
        return [str(error)]
    return []


def _mend(place: Path) -> str:
    return f"Make it anew with: ecotone index build {place}"
