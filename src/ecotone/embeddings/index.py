"""An index: what makes searching a store fast. Built, brought up to date, opened, and never trusted when stale."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from ecotone.embeddings.index_build import SAMPLED, Progress, Truth, next_state, sweep, with_checksums
from ecotone.embeddings.index_codes import kernels
from ecotone.embeddings.index_facts import IndexFacts, Kind, UnusableIndex, index_folder, read_index_facts, write_facts
from ecotone.embeddings.index_files import check_files
from ecotone.embeddings.index_scan import IndexScan
from ecotone.embeddings.scan import FloatScan, Scan
from ecotone.embeddings.store import Store
from ecotone.files import write_errors

MILLION = 1_000_000  # rows above which a graph is built by default
EXPANSIONS = (64, 128, 256, 512, 1024)  # lengths of a graph's list of candidates that are tried
ENOUGH = 0.96  # recall@10 over the sampled rows, a little above the 0.95 that a graph should reach


class IndexWarning(UserWarning):
    """An index was not used or was made anew, and why."""


@dataclass(frozen=True)
class IndexSummary:
    """What building or bringing up to date an index did.

    Attributes:
        folder: Where it lies.
        facts: What it says about itself.
        added: Sources that were read: new ones, and those that had changed.
        kept: Sources that it covered already.
        removed: Sources that it dropped: those that are gone, and those that had changed.
        seconds: Wall-clock time.
        size: Bytes on disk.
    """

    folder: Path
    facts: IndexFacts
    added: int
    kept: int
    removed: int
    seconds: float
    size: int

    def as_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        counts = {n: getattr(self, n) for n in ("added", "kept", "removed", "seconds", "size")}
        facts = self.facts.model_dump(mode="json", exclude={"sources", "checksums"})
        return {"index": str(self.folder), "rows": self.facts.rows, **counts, **facts}


def build_index(
    store: Store,
    *,
    kind: Kind | None = None,
    rebuild: bool = False,
    on_progress: Progress | None = None,
) -> IndexSummary:
    """Build the index of a store, or bring it up to date without reading again the sources that it covers.

    It may be stopped at any moment: the old state stays in force until the new one is whole.

    Args:
        store: The store.
        kind: ``exact``, or ``hnsw`` with a graph; by default a graph above a million rows.
        rebuild: Forget what there is.
        on_progress: Told what is being done, how many rows are done, and how many in all.

    Raises:
        DataError: The extra ``search`` is not installed, or the disk is full.
    """
    kernels()
    started, folder = time.perf_counter(), index_folder(store.path)
    tell = on_progress or (lambda what, done, total: None)
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        old = None if rebuild else _old(folder, store)
        facts = next_state(store, folder, old, tell)
        if kind == "hnsw" or (kind is None and len(store) > MILLION):
            facts = _graphed(folder, facts, old, tell)
        facts = with_checksums(folder / str(facts.generation), facts, old.facts if old else None)
        tell("measuring", 0, SAMPLED)
        facts = _measured(folder, facts)
        tell("measuring", SAMPLED, SAMPLED)
        write_facts(folder, facts)
        sweep(folder, facts)
    before = set(old.facts.sources if old and old.facts.generation == facts.generation else ())
    kept, size = before & set(facts.sources), sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    counts = {"added": len(facts.sources) - len(kept), "kept": len(kept), "removed": len(before - kept)}
    return IndexSummary(folder, facts, **counts, seconds=time.perf_counter() - started, size=size)


def open_scan(store: Store) -> Scan:
    """The rows of a store, through its index where it has one that covers it and is whole.

    Without one every search reads all vectors in full precision; if there is one that cannot be used, a warning says
    why.

    Raises:
        DataError: There is an index, and the extra ``search`` is not installed.
    """
    folder = index_folder(store.path)
    try:
        facts = read_index_facts(folder)
        if facts is None:
            return FloatScan(store.vectors, store.mean)
        check_cover(store, facts)
        kernels()
        check_files(folder / str(facts.generation), facts, facts.whole)
        return _open(folder, facts)
    except UnusableIndex as error:
        warnings.warn(f"{error} Searching without it.", IndexWarning, stacklevel=2)
        return FloatScan(store.vectors, store.mean)


def _open(folder: Path, facts: IndexFacts) -> IndexScan:
    home = folder / str(facts.generation)
    if facts.kind == "exact":
        return IndexScan(home, facts)
    from ecotone.embeddings.index_graph import GraphScan

    return GraphScan(home, facts)


def _graphed(folder: Path, facts: IndexFacts, old: IndexScan | None, tell: Progress) -> IndexFacts:
    """The facts with a graph."""
    from ecotone.embeddings.index_graph import GraphScan, write_graph

    graph = old if isinstance(old, GraphScan) and old.facts.generation == facts.generation else None
    return write_graph(folder / str(facts.generation), facts, graph, torch.get_num_threads(), tell)


def _measured(folder: Path, facts: IndexFacts) -> IndexFacts:
    """The facts with what a search finds; of a graph with the shortest list of candidates that finds enough."""
    truth = Truth.of(IndexScan(folder / str(facts.generation), facts))
    for expansion in EXPANSIONS if facts.kind == "hnsw" else (None,):
        found = truth.measured(_open(folder, facts.model_copy(update={"expansion": expansion})))
        if (found.recall_at_10 or 0) >= ENOUGH:
            break
    return found


def check_cover(store: Store, facts: IndexFacts) -> None:
    """Check that an index covers a store as it is now.

    Raises:
        UnusableIndex: It is stale, or was made for other embeddings.
    """
    mend = f"Bring it up to date with: ecotone index build {store.path}"
    if differ := _differences(store, facts):
        raise UnusableIndex(f"the index of {store.path} was made for other embeddings: {differ}", mend=mend)
    entries = {s.name: s for s in facts.sources}
    missing = [p.path.stem for p in store.parts if not (s := entries.get(p.path.stem)) or not s.covers(p)]
    gone = set(entries) - {p.path.stem for p in store.parts}
    if missing or gone:
        raise UnusableIndex(
            f"the index of {store.path} is stale",
            found=f"{len(missing)} new or changed sources and {len(gone)} that are gone",
            mend=mend,
        )


def _differences(store: Store, facts: IndexFacts) -> str:
    names = ("model_hash", "spec_hash", "dimension", "dtype")
    return ", ".join(
        f"{n} {getattr(facts, n)} instead of {getattr(store.facts, n)}"
        for n in names
        if getattr(facts, n) != getattr(store.facts, n)
    )


def _old(folder: Path, store: Store) -> IndexScan | None:
    """The index there is, if any of it can be kept."""
    try:
        facts = read_index_facts(folder)
        if facts is None:
            return None
        if differ := _differences(store, facts):
            raise UnusableIndex(f"the index of {store.path} was made for other embeddings: {differ}")
        check_files(folder / str(facts.generation), facts, facts.files)
        return _open(folder, facts)
    except UnusableIndex as error:
        warnings.warn(f"{error} It is made anew.", IndexWarning, stacklevel=3)
        return None
