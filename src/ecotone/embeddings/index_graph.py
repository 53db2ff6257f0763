"""A graph beside the codes of an index (HNSW; Malkov and Yashunin, TPAMI 2020): fast among many millions of rows."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from usearch.index import Index

from ecotone.embeddings.index_build import Progress, Step
from ecotone.embeddings.index_codes import encode
from ecotone.embeddings.index_facts import IndexFacts, SourceEntry
from ecotone.embeddings.index_files import check_files, load, row_blocks
from ecotone.embeddings.index_scan import IndexScan
from ecotone.embeddings.scan import Found
from ecotone.files import replacing

CONNECTIVITY, EXPANSION_ADD = 16, 128
SPARE = 4  # times k candidates, which exact comparison then sorts
SELECTIVE = 0.05  # of a smaller share of allowed rows the graph would find too few
MOST_REMOVED = 0.3  # of the rows of a graph; with more it is made anew
_SHIFT = np.uint64(40)  # bits of a key that number the row of a source


class GraphScan(IndexScan):
    """The rows of an index with a graph; what the graph cannot answer is answered from the codes.

    Args:
        folder: The folder of its generation.
        facts: Its facts.

    Raises:
        UnusableIndex: A file is missing or damaged.
    """

    def __init__(self, folder: Path, facts: IndexFacts) -> None:
        super().__init__(folder, facts)
        self._graph = _new(facts.dimension)
        self._graph.view(folder / f"{facts.update}.usearch")
        self._graph.expansion_search = facts.expansion or EXPANSION_ADD
        numbers = np.array([s.number for s in facts.sources])
        order = np.argsort(numbers)
        self._numbers, self._firsts = numbers[order], self.vectors.firsts[:-1][order]

    @cached_property
    def complete(self) -> IndexScan:
        check_files(self.folder, self.facts, (n for n in self.facts.files if n.endswith(".codes.npy")))
        return IndexScan(self.folder, self.facts)

    def candidates(self, directions: np.ndarray, k: int, centre: bool, allowed: np.ndarray | None) -> list[Found]:
        share = 1.0 if allowed is None else float(allowed.mean())
        wanted = int(np.ceil(SPARE * k / share)) if share else len(self)
        if not centre or share < SELECTIVE or wanted >= len(self):
            return self.complete.candidates(directions, k, centre, allowed)
        codes = encode(directions, self.state.rotation, self.state.head).codes
        found = [self._around(code, wanted, allowed) for code in codes]
        few = [i for i, rows in enumerate(found) if len(rows) < k]
        if few:
            return self.complete.candidates(directions, k, centre, allowed)
        return [(rows, np.full(len(rows), np.inf)) for rows in found]

    def _around(self, code: np.ndarray, wanted: int, allowed: np.ndarray | None) -> np.ndarray:
        keys = self._graph.search(code, wanted, threads=1).keys
        source = np.searchsorted(self._numbers, keys >> _SHIFT)
        rows = self._firsts[source] + (keys & ((np.uint64(1) << _SHIFT) - np.uint64(1))).astype(np.int64)
        return rows if allowed is None else rows[allowed[rows]]


def write_graph(folder: Path, facts: IndexFacts, old: GraphScan | None, threads: int, tell: Progress) -> IndexFacts:
    """Write the graph of this state of an index: that of the old one with what changed, or a new one.

    Args:
        folder: The folder of its generation.
        facts: The facts of the new state.
        old: The state in force, in the same folder, if it has a graph.
        threads: How many rows are added at the same time.
        tell: Told of rows that were linked.

    Returns:
        The facts with the rows that the graph no longer gives.
    """
    graph, added, removed = _new(facts.dimension), list(facts.sources), 0
    if old is not None:
        gone = [s for s in old.facts.sources if s not in facts.sources]
        removed = old.facts.graph_removed + sum(s.rows for s in gone)
        if removed <= MOST_REMOVED * facts.rows:
            graph.load(folder / f"{old.facts.update}.usearch")
            added = [s for s in facts.sources if s not in old.facts.sources]
            for source in gone:
                graph.remove(_keys(source))
        else:
            removed = 0
    step = Step("linking", sum(s.rows for s in added), tell)
    for source in added:
        keys, codes = _keys(source), load(folder / f"{source.number}.codes.npy", (source.rows, graph.ndim), np.int8)
        for some, part in zip(row_blocks(keys), row_blocks(codes), strict=True):
            if len(some):
                graph.add(some, part, threads=threads)
                step(len(some))
    with replacing(folder / f"{facts.update}.usearch") as temporary:
        graph.save(temporary)
    return facts.model_copy(update={"kind": "hnsw", "graph_removed": removed})


def _new(width: int) -> Index:
    return Index(ndim=width, metric="cos", dtype="i8", connectivity=CONNECTIVITY, expansion_add=EXPANSION_ADD)


def _keys(source: SourceEntry) -> np.ndarray:
    return (np.uint64(source.number) << _SHIFT) + np.arange(source.rows, dtype=np.uint64)
