"""The steps of building an index: copy vectors, find their mean, round them, measure what a search finds."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecotone.embeddings.index_codes import turned_to_head
from ecotone.embeddings.index_facts import FACTS, IndexFacts, SourceEntry
from ecotone.embeddings.index_files import State, load_vectors, row_blocks, write_codes, write_state, write_vectors
from ecotone.embeddings.index_scan import IndexScan
from ecotone.embeddings.scan import Found, Scan, nearest, norms
from ecotone.embeddings.store import Store
from ecotone.files import file_crc32

DRIFT = 0.5  # of the rows' usual norm: where the mean moved further, codes around the old one have grown too coarse
SAMPLED = 100  # rows whose neighbours are compared with the exact ones
AT = 10
SPECTRUM = 50_000  # rows whose principal axes turn all

Progress = Callable[[str, int, int], None]  # what is being done, how many rows are done, and how many in all


def next_state(store: Store, folder: Path, old: IndexScan | None, tell: Progress) -> IndexFacts:
    """Write the files of the next state of an index, beside those in force.

    Args:
        store: The store.
        folder: The index.
        old: The state in force, if any of it can be kept.
        tell: Told of rows that were copied and rounded.

    Returns:
        The facts that put it in force.
    """
    known = {s.name: s for s in (old.facts.sources if old else ())}
    kept = {p.path.stem: s for p in store.parts if (s := known.get(p.path.stem)) and s.covers(p)}
    if not kept:
        old = None
    generation = old.facts.generation if old else 1 + max((int(f.name) for f in folder.glob("[0-9]*")), default=0)
    update = old.facts.update + 1 if old else 1
    home, new = folder / str(generation), sum(p.count for p in store.parts if p.path.stem not in kept)
    number = 1 + max((s.number for s in known.values()), default=0)
    entries = _copy(store, home, kept, number, Step("copying", new, tell))
    state = _state(home, entries, store.facts.dimension, old)
    if old and np.linalg.norm(state.mean - state.centre) > DRIFT * np.sqrt(np.mean(np.square(state.norms))):
        return next_state(store, folder, None, tell)
    rounding = Step("rounding", new, tell)
    for entry in entries:
        if entry.name not in kept:
            write_codes(home, entry, state, rounding)
    write_state(home, update, state)
    shared = {n: getattr(store.facts, n) for n in ("dimension", "dtype", "model_hash", "spec_hash")}
    return IndexFacts(kind="exact", generation=generation, update=update, sources=tuple(entries), **shared)


class Step:
    """One of the things that are done with all rows; it is called with the rows that were done since."""

    def __init__(self, what: str, total: int, tell: Progress) -> None:
        self._what, self._total, self._tell, self._done = what, total, tell, 0

    def __call__(self, rows: int) -> None:
        self._done += rows
        self._tell(self._what, self._done, self._total)


def _copy(store: Store, home: Path, kept: dict[str, SourceEntry], number: int, step: Step) -> list[SourceEntry]:
    entries = []
    for part in store.parts:
        if part.path.stem in kept:
            entries.append(kept[part.path.stem])
            continue
        entries.append(SourceEntry.of(part, number))
        write_vectors(home, part, number, step)
        number += 1
    return entries


def _state(home: Path, entries: Sequence[SourceEntry], dimension: int, old: IndexScan | None) -> State:
    """Mean and norms of all rows; the centre and the rotation of the codes stay as they were."""
    arrays = [load_vectors(home, s, dimension) for s in entries]
    rows = sum(s.rows for s in entries)
    total = sum((v.sum(0, dtype=np.float64) for a in arrays for v in row_blocks(a)), np.zeros(dimension))
    mean = (total / rows).astype(np.float32)
    if old:
        rotation, head = old.state.rotation, old.state.head
    else:
        some = np.concatenate([a[:: max(1, rows // SPECTRUM)] for a in arrays]) - mean
        rotation, head = turned_to_head(some / norms(some)[:, None])
    return State(
        rotation=rotation,
        head=head,
        centre=old.state.centre if old else mean,
        mean=mean,
        norms=np.concatenate([norms(v - mean) for a in arrays for v in row_blocks(a)]),
        plain_norms=np.concatenate([norms(v) for a in arrays for v in row_blocks(a)]),
    )


@dataclass(frozen=True)
class Truth:
    """Sampled rows and the exact neighbours of each, found in full precision."""

    rows: np.ndarray
    directions: np.ndarray
    found: list[Found]

    @classmethod
    def of(cls, scan: Scan) -> Truth:
        """That of evenly spaced rows."""
        rows = np.unique(np.linspace(0, len(scan) - 1, min(SAMPLED, len(scan))).round().astype(np.int64))
        directions = scan.units(rows).astype(np.float32)
        return cls(rows, directions, nearest(scan.exhaustive, directions, AT + 1))

    def measured(self, scan: IndexScan) -> IndexFacts:
        """The facts of an index with the share of the exact ten nearest that a search finds, and how fast it is."""
        nearest(scan, self.directions[:1], AT + 1)  # lays the codes out for products
        started = time.perf_counter()
        found = [nearest(scan, d[None], AT + 1)[0] for d in self.directions]
        speed = len(found) / (time.perf_counter() - started)
        shares = [_recall(r, f, e) for r, f, e in zip(self.rows, found, self.found, strict=True)]
        figures = {"recall_at_10": float(np.mean(shares)), "sampled": len(found), "queries_per_s": speed}
        return scan.facts.model_copy(update=figures)


def _recall(row: int, found: Found, exact: Found) -> float:
    """Share of the exact ten, the row itself aside; a row as near as the tenth counts as found."""
    exact_rows, exact_cosines = (column[exact[0] != row][:AT] for column in exact)
    if not len(exact_rows):
        return 1.0
    rows, cosines = (column[found[0] != row][:AT] for column in found)
    return float((np.isin(rows, exact_rows) | (cosines >= exact_cosines[-1] - 1e-6)).sum() / len(exact_rows))


def with_checksums(home: Path, facts: IndexFacts, old: IndexFacts | None) -> IndexFacts:
    """The facts with the checksums of their files, of which those of the old state are known."""
    known = old.checksums if old and old.generation == facts.generation else {}
    sums = {name: known[name] if name in known else file_crc32(home / name) for name in sorted(facts.files)}
    return facts.model_copy(update={"checksums": sums})


def sweep(folder: Path, facts: IndexFacts) -> None:
    """Remove files of other states, and what a build that was stopped has left."""
    for path in folder.iterdir():
        if path.is_dir() and path.name != str(facts.generation):
            shutil.rmtree(path)
        elif path.is_file() and path.name.startswith(f".{FACTS}."):
            path.unlink()
    for path in (folder / str(facts.generation)).iterdir():
        if path.name not in facts.files:
            path.unlink()
