"""What the machine can do: the yardstick of every speed figure, measured in the same run."""

from __future__ import annotations

import platform
import resource
import time
from collections.abc import Callable

import torch


def best_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Shortest of several timings, after one warm-up: the one least disturbed by other work on the machine."""
    work()
    timings = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        timings.append(time.perf_counter() - started)
    return min(timings)


def matmul_peak(dtype: torch.dtype) -> float:
    """GFLOP/s of the best of a few matrix products of the shapes that ViT-B meets."""
    peak = 0.0
    for rows, inner, cols in ((1568, 768, 3072), (1568, 3072, 768), (3136, 768, 768)):
        a, b = torch.randn(rows, inner, dtype=dtype), torch.randn(inner, cols, dtype=dtype)
        seconds = best_seconds(lambda a=a, b=b: a @ b, repeats=5 if dtype == torch.float32 else 2)
        peak = max(peak, 2 * rows * inner * cols / seconds / 1e9)
    return peak


def machine() -> dict[str, object]:
    """Facts that a figure means nothing without."""
    return {
        "processor": platform.processor() or platform.machine(),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def peak_memory_mib() -> float:
    """Largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
