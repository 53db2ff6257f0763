"""Which arithmetic is fast on this device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Arithmetic = Literal["fp32", "bf16"]
Precision = Literal["fp32", "bf16", "auto"]


def resolve_precision(wanted: Precision, device: torch.device) -> Arithmetic:
    """``auto`` becomes bf16 only where the device multiplies it natively; CPUs without AVX512-bf16 or AMX emulate it.

    On such a CPU bf16 matrix products were measured 50 times slower than fp32 (``python -m benchmarks.methods``).
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    if device.type == "cpu":
        return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "fp32"
    return "fp32"


def autocast(precision: Arithmetic, device: torch.device) -> AbstractContextManager:
    """The context of a forward pass: weights stay fp32, matrix products run in bf16."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
