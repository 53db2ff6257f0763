"""Reading, model and writing at the same time: work that runs ahead of the loop that uses it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

S = TypeVar("S")
T = TypeVar("T")
_END = object()


def ahead(items: Iterator[T], depth: int = 2) -> Iterator[T]:
    """The same items, up to ``depth`` of them made in a thread before they are asked for; errors come when theirs is.

    GDAL and torch release the interpreter's lock, so a model runs while the next pixels are read.
    """
    pool = ThreadPoolExecutor(1, "ahead")
    try:
        waiting = deque(pool.submit(next, items, _END) for _ in range(depth))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, items, _END))
            yield item  # pyright: ignore[reportReturnType]
    finally:
        pool.shutdown(cancel_futures=True)


def workers_on(device: torch.device) -> int:
    """How many threads are best given batches for a model; none where the caller's own would only wait for it."""
    cores = torch.get_num_threads()
    return 1 if device.type != "cpu" else cores if cores > 1 else 0


def side_by_side(work: Callable[[S], T], items: Iterator[S], workers: int) -> Iterator[T]:
    """What becomes of each item, in their order, made in as many threads; without any, when it is asked for.

    Each thread runs torch on one core. Several batches at once keep all cores busy; splitting each operation of one
    batch among the cores does not, as a light model waits longer for its threads than it works.
    """
    if not workers:
        yield from map(work, items)
        return
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(workers, "work", initializer=torch.set_num_threads, initargs=(1,))
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
