"""Step time of MAE and Scale-MAE beside the matmul peak of the same machine in the same run.

    python -m benchmarks.methods --json

Prints JSON lines: for each method and precision the step time (forward, backward, AdamW), images/s, GFLOP/s and its
share of the peak; for transformer blocks alone the share that bounds any ViT; and attention kernels side by side.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import best_seconds, machine, matmul_peak, peak_memory_mib
from ecotone.encoders import SIZES, ViT
from ecotone.inputs import Identity, InputSpec, RoleSpec
from ecotone.methods import MAE, Method, ScaleMAE
from ecotone.nn.transformer import Block
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch, ImageBatch
from ecotone.sensors import unit
from ecotone.training.precision import autocast

CPU = torch.device("cpu")


def build(kind: str, size: str, patch: int) -> Method:
    role = RoleSpec(sensor="rgb", bands=("R", "G", "B"), unit="uint8", normaliser=Identity())
    positions = "gsd" if kind == "scale-mae" else "sincos"
    spec = InputSpec(roles={"optical": role})
    encoder = ViT(spec, patch=patch, positions=positions, **SIZES[size])
    return ScaleMAE(encoder) if kind == "scale-mae" else MAE(encoder)


def random_batch(count: int, side: int) -> Batch:
    image = ImageBatch.of(torch.randn(count, 3, side, side), bands=("R", "G", "B"), unit=unit("uint8"), gsd=1.0)
    return Batch(images={"optical": image}, keys=("",) * count, seeds=torch.arange(count))


def training_step(method: Method, batch: Batch, precision: str) -> Callable[[], None]:
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-6)

    def step() -> None:
        with autocast(precision, CPU):
            loss = method(batch, SampleRandom(batch.seeds))["total"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def flops(work: Callable[[], None]) -> float:
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    return counter.get_total_flops()


def row(name: str, work: Callable[[], None], images: int, peak: float, repeats: int) -> dict:
    count, seconds = flops(work), best_seconds(work, repeats)
    return {
        "name": name,
        "seconds": seconds,
        "images_per_s": images / seconds,
        "gflop_per_s": count / seconds / 1e9,
        "share_of_matmul_peak": count / seconds / 1e9 / peak,
        "peak_memory_mib": peak_memory_mib(),
    }


def block_rows(precision: str, peak: float, repeats: int) -> list[dict]:
    """Forward and backward of four ViT-B blocks over 50 visible tokens."""
    blocks = torch.nn.Sequential(*(Block(768, 12) for _ in range(4)))
    x = torch.randn(32, 50, 768, requires_grad=True)

    def work() -> None:
        with autocast(precision, CPU):
            out = blocks(x)
        out.float().sum().backward()

    return [{"precision": precision, **row("ViT-B blocks", work, 32, peak, repeats)}]


def attention_rows(repeats: int) -> list[dict]:
    """Two batched matrix products against the fused kernel, over sequence lengths."""
    rows = []
    for length in (17, 50, 65, 197, 257, 577):
        qkv = [torch.randn(32, 3, length, 64, requires_grad=True) for _ in range(3)]
        plain = best_seconds(partial(_attend, _plain_attention, qkv), repeats)
        fused = best_seconds(partial(_attend, F.scaled_dot_product_attention, qkv), repeats)
        rows.append({"name": "attention", "tokens": length, "fused_over_plain": fused / plain})
    return rows


def _attend(kernel: Callable[..., torch.Tensor], qkv: list[torch.Tensor]) -> None:
    kernel(*qkv).sum().backward()


def _plain_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object a line (the only format there is)")
    parser.add_argument("--size", default="base", choices=SIZES)
    parser.add_argument("--patch", type=int, default=16)
    parser.add_argument("--side", type=int, default=224, help="input side; Scale-MAE's target has twice as many")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", default="fp32,bf16")
    options = parser.parse_args()
    rows: list[dict] = [{"name": "machine", **machine()}]
    for precision in options.precision.split(","):
        peak = matmul_peak(torch.float32 if precision == "fp32" else torch.bfloat16)
        rows.append({"name": "matmul peak", "precision": precision, "gflop_per_s": peak})
        rows += block_rows(precision, peak, options.repeats)
        for kind, side in (("mae", options.side), ("scale-mae", options.side * 2)):
            method = build(kind, options.size, options.patch)
            work = training_step(method, random_batch(options.batch, side), precision)
            figures = row(kind, work, options.batch, peak, options.repeats)
            rows.append({"precision": precision, "batch": options.batch, **figures})
    rows += attention_rows(options.repeats)
    for line in rows:
        print(json.dumps(line))


if __name__ == "__main__":
    main()
