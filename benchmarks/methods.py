"""Step time of the methods at their published configurations, beside literal renderings of the authors' code.

    python -m benchmarks.methods --json --only scale-mae,spectral-gpt,mp-mae --precision fp32

Prints JSON lines. A step is forward and backward; ours and the literal form take turns in one process, after their loss
and gradient were found equal, and so does the matmul whose best rate is the peak. ``ratio`` is literal over ours (of
the best and of the median times). In bf16 rows ours runs under autocast and the literal form stays in fp32. Memory is
measured in a process for each. Further rows: transformer blocks alone, which bound any ViT, and attention kernels.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import best_seconds, machine, matmul_peak, seconds
from benchmarks.memory import measured
from benchmarks.published import BATCHES, METHODS, Setup, differences, loss, mae
from ecotone.nn.transformer import Block
from ecotone.samples import Batch
from ecotone.training.precision import Arithmetic, autocast, resolve_precision

Shape = Sequence[int]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
EQUAL = 1e-4


@dataclass
class Form:
    """One form of a step and its timings."""

    step: Callable[[], None]
    gflop: float
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def time(self, device: torch.device) -> None:
        started = time.process_time()
        self.wall.append(seconds(self.step, device))
        self.cpu.append(time.process_time() - started)

    def row(self, count: int, peak: float) -> dict[str, float]:
        best = min(self.wall)
        return {
            "best_s": best,
            "median_s": median(self.wall),
            "best_cpu_s": min(self.cpu),
            "images_per_s": count / best,
            "gflop": self.gflop,
            "share_of_matmul_peak": self.gflop / best / peak,
        }


def training_step(method: nn.Module, batch: Batch, precision: Arithmetic, device: torch.device) -> Callable[[], None]:
    def step() -> None:
        method.zero_grad()
        with autocast(precision, device):
            total = loss(method, batch)
        total.backward()

    return step


def gflop(work: Callable[[], None]) -> float:
    """Of matrix products and convolutions. Fused attention is counted as the products that it stands for."""
    counted = {torch.ops.aten.convolution_backward: _convolution_backward_flop}
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=counted) as counter:
        work()
    return counter.get_total_flops() / 1e9


def _convolution_backward_flop(out: Shape, x: Shape, weight: Shape, *rest: Any, **unused: Any) -> int:
    """As many as the forward pass for each of the two gradients; torch's own count leaves out the groups."""
    transposed, wanted = rest[4], rest[7]
    return 2 * prod(weight) * out[0] * prod((x if transposed else out)[2:]) * sum(wanted[:2])


def check(name: str, setup: Setup) -> dict[str, object]:
    """That both forms compute the same."""
    found = differences(setup)
    if found["loss"] > EQUAL or found["gradient_norm"] > EQUAL:
        raise SystemExit(f"{name}: ours and the literal form differ: {found}")
    return {"name": name, "check": f"loss and gradient norm equal within {EQUAL:g}", "relative_differences": found}


def method_row(name: str, setup: Setup, precision: Arithmetic, options: argparse.Namespace) -> dict[str, object]:
    """Timings, taken in turns, and memory of one method in one precision."""
    device, count = options.device, len(setup.batch)
    steps = {"ours": training_step(setup.ours, setup.batch, precision, device)}
    if setup.literal is not None:
        steps["literal"] = training_step(setup.literal, setup.batch, "fp32", device)
    forms = {form: Form(step, gflop(step)) for form, step in steps.items()}  # counting warms up
    # What ours computes again to save memory is no work done.
    forms["ours"].gflop = min(form.gflop for form in forms.values())
    peaks = {"fp32": 0.0, precision: 0.0}
    for _ in range(options.repeats):
        for form in forms.values():
            form.time(device)
        peaks = {p: max(peak, matmul_peak(DTYPES[p], device, repeats=1)) for p, peak in peaks.items()}
    own = {form: precision if form == "ours" else "fp32" for form in forms}
    rows = {form: f.row(count, peaks[own[form]]) for form, f in forms.items()}
    for form, row in rows.items():
        row |= measured(name, form, count, own[form], device)
    result: dict[str, object] = {"name": name, "precision": precision, "batch": count, "repeats": options.repeats}
    if "literal" in rows:
        keys = {"ratio": "best_s", "ratio_of_medians": "median_s", "ratio_of_cpu": "best_cpu_s"}
        result |= {k: rows["literal"][v] / rows["ours"][v] for k, v in keys.items()}
        result["memory_ratio"] = rows["ours"]["step_mib"] / rows["literal"]["step_mib"]
    return {**result, "matmul_peak_gflop_per_s": peaks, **rows}


def block_row(precision: Arithmetic, options: argparse.Namespace) -> dict[str, object]:
    """Forward and backward of four ViT-B blocks over 50 visible tokens."""
    blocks = nn.Sequential(*(Block(768, 12) for _ in range(4))).to(options.device)
    x = torch.randn(32, 50, 768, requires_grad=True, device=options.device)

    def work() -> None:
        with autocast(precision, options.device):
            out = blocks(x)
        out.float().sum().backward()

    peak = matmul_peak(DTYPES[precision], options.device)
    form = Form(work, gflop(work), [best_seconds(work, options.repeats, options.device)], [0.0])
    return {"name": "blocks", "what": "4 ViT-B blocks", "precision": precision, **form.row(32, peak)}


def attention_rows(options: argparse.Namespace) -> list[dict[str, object]]:
    """Two batched matrix products against the fused kernel, over sequence lengths."""
    rows: list[dict[str, object]] = []
    for length in (17, 50, 65, 197, 257, 577):
        qkv = [torch.randn(32, 3, length, 64, requires_grad=True, device=options.device) for _ in range(3)]
        plain, fused = (
            best_seconds(partial(_attend, kernel, qkv), options.repeats, options.device)
            for kernel in (_plain_attention, F.scaled_dot_product_attention)
        )
        rows.append({"name": "attention", "tokens": length, "fused_over_plain": fused / plain})
    return rows


def _attend(kernel: Callable[..., torch.Tensor], qkv: list[torch.Tensor]) -> None:
    kernel(*qkv).sum().backward()


def _plain_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object a line (the only format there is)")
    parser.add_argument("--only", default=",".join([*METHODS, "blocks", "attention"]), help="names, joined by commas")
    parser.add_argument("--precision", help="default: fp32, and bf16 where the device multiplies it natively")
    parser.add_argument("--batch", type=int, help="images; by default the published configuration's")
    parser.add_argument("--size", default="base", help="of MAE alone; large for the usual GPU figure")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", type=torch.device)
    return parser.parse_args()


def _precisions(options: argparse.Namespace) -> list[Arithmetic]:
    """As asked; bf16 that is emulated takes minutes for a step."""
    if options.precision:
        return options.precision.split(",")
    return ["fp32"] if resolve_precision("auto", options.device) == "fp32" else ["fp32", "bf16"]


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    names, precisions = options.only.split(","), _precisions(options)
    _print({"name": "machine", **machine(options.device)})
    for name in (n for n in names if n in METHODS):
        count = options.batch or BATCHES[name]
        setup = (mae(count, size=options.size) if name == "mae" else METHODS[name](count)).to(options.device)
        if setup.literal is not None:
            _print(check(name, setup))
        for precision in precisions:
            _print(method_row(name, setup, precision, options))
    if "blocks" in names:
        for precision in precisions:
            _print(block_row(precision, options))
    for row in attention_rows(options) if "attention" in names else []:
        _print(row)


def _print(row: dict[str, object]) -> None:
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
