"""A small convolutional network, trained from scratch on the train labels alone: what they give without pretraining."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecotone.evaluation.features import Progress
from ecotone.evaluation.floors import raw_pixels
from ecotone.evaluation.tasks import Task
from ecotone.heads import Task as TaskName
from ecotone.heads.tasks import answers, figures, gain, judge, loss, targets
from ecotone.samples import Batch

SMALL_NETWORK = "small network from scratch"
BUDGET = 12_800  # images seen: seconds on two cores, and more passes than a few thousand labels need
PASSES = 40  # at most, for fewer images
SIDE = 32  # pixels that larger images are reduced to
WIDTHS = (32, 64, 128)
BATCH = 64
CHECKS = 8  # times that val is asked
SETTINGS = {"images": BUDGET, "most_passes": PASSES, "side": SIDE, "widths": list(WIDTHS), "checks": CHECKS}


class SmallNetwork:
    """Three strided convolutions and a linear head, trained end to end; the state of the best main metric on val stays.

    Its features are the averaged maps before the head, so that it passes through the same protocols as an encoder.
    AdamW on a one-cycle schedule (Smith and Topin, arXiv 1708.07120), random flips and quarter turns.

    Args:
        train: (N, C, H, W) pixels of ``shrunk``, and labels as datasets give them.
        val: The same of the val split.
        task: What the labels mean.
        seed: Of the weights, the order and the augmentation.
        device: Where it is trained.
        tell: Told of the images seen.
    """

    def __init__(
        self,
        train: tuple[Tensor, Tensor],
        val: tuple[Tensor, Tensor],
        task: Task,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        tell: Progress | None = None,
    ) -> None:
        pixels, labels = train
        self.task: TaskName = cast(TaskName, task.name)
        self.device, self.tell = torch.device(device), tell
        self.mean = pixels.mean((0, 2, 3), keepdim=True)
        std = pixels.std((0, 2, 3), keepdim=True)
        self.std = torch.where(std > 1e-8, std, 1.0)
        self.scaling, outputs = (0.0, 1.0), len(task.classes)
        if task.name == "regression":
            self.scaling, outputs = (labels.mean().item(), labels.std(correction=0).item() or 1.0), 1
        elif task.name == "classification":
            outputs = max(outputs, 1 + int(labels.max()))
        self.wanted = targets(self.task, labels, outputs, self.scaling)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = _body(pixels.shape[1])
            self.head = nn.Linear(WIDTHS[-1], outputs)
        self.body.to(self.device)
        self.head.to(self.device)
        self._train(self._scaled(pixels), val, torch.Generator().manual_seed(seed))

    def __call__(self, batch: Batch) -> Tensor:
        """(N, 128) float32."""
        with torch.inference_mode():
            return self.body(self._scaled(shrunk(batch)).to(self.device)).cpu()

    def _scaled(self, pixels: Tensor) -> Tensor:
        # channels_last makes convolution on the CPU about a third faster.
        return ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def _train(self, pixels: Tensor, val: tuple[Tensor, Tensor], generator: torch.Generator) -> None:
        network = nn.Sequential(self.body, self.head)
        steps = max(1, min(BUDGET, PASSES * len(pixels)) // min(BATCH, len(pixels)))
        optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps + 1)
        best, kept = -math.inf, {}
        checks = {steps * (i + 1) // CHECKS for i in range(CHECKS)}
        for step, chosen in enumerate(_order(len(pixels), steps, generator), 1):
            network.train()
            scores = network(_turned(pixels[chosen], generator).to(self.device))
            optimiser.zero_grad()
            loss(self.task, scores, self.wanted[chosen].to(self.device)).backward()
            optimiser.step()
            schedule.step()
            if self.tell:
                self.tell(f"training the {SMALL_NETWORK}", step * len(chosen), steps * len(chosen))
            if step in checks and (found := self._on_val(network, val)) > best:
                best, kept = found, {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(kept)
        network.eval()

    @torch.no_grad()
    def _on_val(self, network: nn.Module, val: tuple[Tensor, Tensor]) -> float:
        network.eval()
        scores = torch.cat([network(part.to(self.device)).cpu() for part in self._scaled(val[0]).split(256)])
        judged = judge(self.task, answers(self.task, scores, self.scaling), val[1])
        return gain(self.task, figures(self.task, judged))


def shrunk(batch: Batch) -> Tensor:
    """(N, C, h, w) raw pixels, averaged down to at most ``SIDE`` pixels a side."""
    pixels = raw_pixels(batch)
    height, width = pixels.shape[-2:]
    return F.adaptive_avg_pool2d(pixels, (min(height, SIDE), min(width, SIDE)))


def _body(bands: int) -> nn.Module:
    layers: list[nn.Module] = []
    for i, width in enumerate(WIDTHS):
        before = WIDTHS[i - 1] if i else bands
        layers += [nn.Conv2d(before, width, 3, 2 if i else 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _order(n: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches of indices: pass after pass, each in a new order, without a smaller last batch."""
    size, left = min(BATCH, n), torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(left) < size:
            left = torch.randperm(n, generator=generator)
        yield left[:size]
        left = left[size:]


def _turned(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """The batch mirrored and turned by a quarter, as drawn for the whole batch."""
    mirror, turns = torch.randint(2, (1,), generator=generator), torch.randint(4, (1,), generator=generator)
    return torch.rot90(pixels.flip(-1) if mirror else pixels, int(turns), (-2, -1))
