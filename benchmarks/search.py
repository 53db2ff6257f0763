"""Search over many embeddings, beside the speed of memory and faiss: ``python -m benchmarks.search --json``.

Vectors are synthetic: few latent directions of falling strength, noise, and a large common part, as encoders give them.
They are written as a store and indexed as ``ecotone index build`` does. Then, in turns in one process:

- floor: reading as many bytes as there are eight-bit codes, with the same threads;
- single: one query through the index, its recall against full precision, and its time over the floor's;
- batch: many queries at once, beside faiss's flat index of float32 vectors where faiss is installed;
- hnsw: a graph over ``--graph-rows`` rows: time to build, recall and queries per second.

Each figure is the median of the rounds; a ratio is the median of the ratios within rounds, so that other work on the
machine disturbs both sides alike.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.machine import machine
from ecotone.embeddings import RasterFacts, Rows, SourceFacts, Store, StoreWriter, build_index, open_store
from ecotone.embeddings.index_scan import IndexScan
from ecotone.embeddings.scan import BLOCK, Scan, nearest

CPU = torch.device("cpu")
K, LATENT, SIDE = 10, 24, 16


def write_store(path: Path, rows: int, width: int) -> Store:
    """A store with one source of this many cells."""
    across = int(np.ceil(np.sqrt(rows)))
    raster = RasterFacts(
        paths=("synthetic.tif",), name="synthetic.tif", crs="EPSG:32632", shape=(SIDE * across, SIDE * across),
        transform=(10.0, 0.0, 400_000.0, 0.0, -10.0, 5_300_000.0), bands=("R",), unit="dn",
    )  # fmt: skip
    facts = SourceFacts(
        dimension=width, per="chip", chip=SIDE, overlap=0, cell=SIDE, step=SIDE, min_valid=0.0, conversion=None,
        model_hash="synthetic", spec_hash="synthetic", source_id="synthetic", uri="synthetic.tif", gsd=10.0,
        gsd_source="declared", raster=raster, command="benchmarks.search", ecotone_version="0",
    )  # fmt: skip
    draw = np.random.default_rng(0)
    mixing = draw.normal(size=(LATENT, width)) * np.exp(-np.arange(LATENT) / 8)[:, None]
    with StoreWriter(path, facts) as writer:
        for first in range(0, rows, BLOCK):
            number = np.arange(first, min(first + BLOCK, rows))
            vectors = (
                draw.normal(size=(len(number), LATENT)) @ mixing + 0.3 * draw.normal(size=(len(number), width)) + 1
            )
            where = (number // across * SIDE, number % across * SIDE)
            writer.write(Rows(*where, np.ones(len(number)), vectors.astype(np.float32)))
    return open_store(path)


def in_turns(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """(rounds,) seconds of each, after one round that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if turn:
                taken[name].append(time.perf_counter() - started)
    return {name: np.array(each) for name, each in taken.items()}


def reading(codes: np.ndarray, threads: int) -> Callable[[], object]:
    """Read all codes once."""
    words = torch.from_numpy(np.array(codes)).view(torch.int64)
    parts = words.split(BLOCK)
    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(torch.Tensor.sum, parts)) if threads > 1 else [p.sum() for p in parts]


def recall(found: list[Any], truth: list[Any]) -> float:
    return float(np.mean([np.isin(t[0], f[0]).mean() for f, t in zip(found, truth, strict=True)]))


def rows_of(scan: IndexScan, queries: np.ndarray, truth: list[Any], threads: int, rounds: int) -> list[dict[str, Any]]:
    """The figures of one number of threads."""
    scan.threads = threads
    turn = itertools.cycle(range(len(queries)))
    works: dict[str, Callable[[], object]] = {
        "floor": reading(scan.codes[:], threads),
        "single": lambda: nearest(scan, queries[(i := next(turn)) : i + 1], K),
    }
    taken = in_turns(works, 4 * rounds)
    size, single = len(scan) * scan.facts.dimension, [nearest(scan, q[None], K)[0] for q in queries]
    ms = {name: float(np.median(each)) * 1e3 for name, each in taken.items()}
    shared = {"threads": threads, "rows": len(scan), "width": scan.facts.dimension}
    return [
        {"name": "floor", **shared, "ms": ms["floor"], "gb_per_s": size / ms["floor"] / 1e6},
        {
            "name": "single",
            **shared,
            "ms": ms["single"],
            "gb_per_s_of_eight_bits": size / ms["single"] / 1e6,
            "ratio_to_floor": float(np.median(taken["single"] / taken["floor"])),
            "ratio_of_best": float(taken["single"].min() / taken["floor"].min()),
            "recall_at_10": recall(single, truth),
        },
        batch_row(scan, queries, truth, threads, rounds) | shared,
    ]


def batch_row(scan: IndexScan, queries: np.ndarray, truth: list[Any], threads: int, rounds: int) -> dict[str, Any]:
    works: dict[str, Callable[[], object]] = {"batch": lambda: nearest(scan, queries, K)}
    if find_spec("faiss"):
        works["faiss"] = flat_faiss(scan, queries, threads)
    taken = in_turns(works, rounds)
    speed = {name: float(np.median(len(queries) / each)) for name, each in taken.items()}
    row = {"name": "batch", "queries": len(queries), "queries_per_s": speed["batch"]}
    row["recall_at_10"] = recall(nearest(scan, queries, K), truth)
    if "faiss" in taken:
        row["faiss_queries_per_s"] = speed["faiss"]
        row["speed_over_faiss"] = float(np.median(taken["faiss"] / taken["batch"]))
    return row


def flat_faiss(scan: IndexScan, queries: np.ndarray, threads: int) -> Callable[[], object]:
    import faiss  # pyright: ignore[reportMissingImports] optional, for comparison only

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(scan.facts.dimension)
    for first, stop in scan.spans:
        index.add(scan.units(np.arange(first, stop)).astype(np.float32))
    return lambda: index.search(queries, K)


def graph_row(folder: Path, rows: int, width: int) -> dict[str, Any]:
    summary = build_index(write_store(folder / "graph.parquet", rows, width), kind="hnsw")
    facts = summary.facts
    return {
        "name": "hnsw",
        "rows": rows,
        "width": width,
        "build_s": summary.seconds,
        "mib": summary.size / 2**20,
        "recall_at_10": facts.recall_at_10,
        "queries_per_s": facts.queries_per_s,
        "expansion": facts.expansion,
    }


def index_row(store: Store) -> dict[str, Any]:
    summary = build_index(store, kind="exact")
    started = time.perf_counter()
    scan = store.scan
    scan.candidates(scan.units(np.array([0])).astype(np.float32), K, True, None)
    opened = time.perf_counter() - started
    sizes = {"rows": summary.facts.rows, "mib": summary.size / 2**20}
    return {"name": "index", **sizes, "build_s": summary.seconds, "open_and_first_query_s": opened}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object a line (the only format there is)")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--graph-rows", type=int, default=1_000_000, help="0 for no graph")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", default="1,2", help="numbers, joined by commas")
    parser.add_argument("--folder", type=Path, help="where the store is written; by default a temporary one")
    return parser.parse_args()


def queries_of(scan: Scan, count: int) -> np.ndarray:
    """(count, D) directions a little away from rows."""
    draw = np.random.default_rng(1)
    near = scan.units(np.sort(draw.integers(0, len(scan), count)))
    near += 0.2 / np.sqrt(near.shape[1]) * draw.normal(size=near.shape)
    return (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)


def main() -> None:
    options = parse()
    counts = [int(t) for t in options.threads.split(",")]
    torch.set_num_threads(1)  # blocks are what runs side by side
    with tempfile.TemporaryDirectory(dir=options.folder) as name, threadpool_limits(1):
        _print({"name": "machine", **machine(CPU), "threads": counts})
        store = write_store(Path(name) / "store.parquet", options.rows, options.width)
        _print(index_row(store))
        scan = store.scan
        assert isinstance(scan, IndexScan)
        queries = queries_of(scan, options.queries)
        truth = nearest(scan.exhaustive, queries, K)
        for threads in counts:
            for row in rows_of(scan, queries, truth, threads, options.rounds):
                _print(row)
        torch.set_num_threads(max(counts))
        if options.graph_rows:
            _print(graph_row(Path(name), options.graph_rows, options.width))


def _print(row: dict[str, Any]) -> None:
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
