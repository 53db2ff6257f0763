"""Reading, model and writing at the same time: work that runs one step ahead of, or behind, the loop that uses it."""

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


def side_by_side(work: Callable[[S], T], items: Iterator[S], threads: int) -> Iterator[T]:
    """What becomes of each item, in their order, in as many threads, each of which runs torch on one core.

    Several batches at once keep all cores busy. Splitting each operation of one batch among the cores does not: a light
    model waits longer for its threads than it works.
    """
    if threads == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(threads, "work", initializer=torch.set_num_threads, initargs=(1,))
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class Behind:
    """Runs calls in a thread, in order, at most one waiting; the error of one is raised at the next, or by ``wait``."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "behind")
        self._last: Future[object] | None = None

    def run(self, work: Callable[[], object]) -> None:
        """Do this after what was given before is done."""
        last, self._last = self._last, self._pool.submit(work)
        _finish(last)

    def wait(self) -> None:
        """Until all is done."""
        last, self._last = self._last, None
        _finish(last)

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)


def _finish(future: Future[object] | None) -> None:
    if future is not None:
        future.result()
