"""What the machine can do: the yardstick of every speed figure, measured in the same run."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

# The shapes that ViT-B meets; on a GPU larger ones, which fill it.
SHAPES = ((1568, 768, 3072), (1568, 3072, 768), (3136, 768, 768))
CUDA_SHAPES = ((8192, 8192, 8192), (12608, 1024, 4096), (12608, 4096, 1024))


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """One timing, until the device has finished."""
    _finish(device)
    started = time.perf_counter()
    work()
    _finish(device)
    return time.perf_counter() - started


def best_seconds(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Shortest of several timings, after one warm-up: the one least disturbed by other work on the machine."""
    work()
    return min(seconds(work, device) for _ in range(repeats))


def matmul_peak(dtype: torch.dtype, device: torch.device, repeats: int = 5) -> float:
    """GFLOP/s of the best of a few matrix products."""
    peak = 0.0
    for rows, inner, cols in CUDA_SHAPES if device.type == "cuda" else SHAPES:
        a, b = (torch.randn(shape, device=device).to(dtype) for shape in ((rows, inner), (inner, cols)))
        shortest = best_seconds(lambda a=a, b=b: a @ b, repeats, device)
        peak = max(peak, 2 * rows * inner * cols / shortest / 1e9)
    return peak


def machine(device: torch.device) -> dict[str, object]:
    """Facts that a figure means nothing without."""
    facts: dict[str, object] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load_at_start": round(os.getloadavg()[0], 2),
    }
    return facts | {"device": torch.cuda.get_device_name(device)} if device.type == "cuda" else facts


def reset_peak_memory(device: torch.device) -> float:
    """MiB in use now; the peak is counted from here. On CPUs the resident memory of the process (Linux only)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device) / 2**20
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak_memory(device: torch.device) -> float:
    """Largest use in MiB since ``reset_peak_memory``."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else _status("VmHWM")


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def _processor() -> str:
    names = (li.split(":")[1].strip() for li in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in li)
    return next(names, platform.machine())


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
