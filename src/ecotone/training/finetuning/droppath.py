"""Stochastic depth (Huang et al., ECCV 2016): whole residual blocks are left out for some images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ecotone.encoders import Encoder
from ecotone.randomness import SampleRandom
from ecotone.training.finetuning.depth import blocks_of


class DropPath:
    """Leaves out blocks while it is active, whatever they consist of and without touching their parameters.

    Block i of n is left out with probability ``rate * i / (n - 1)``; what a block adds is divided by the probability
    of its staying, so that the mean stays.

    Args:
        encoder: Its blocks map (N, ...) to the same shape.
        rate: Of the last block.
    """

    def __init__(self, encoder: Encoder, rate: float) -> None:
        blocks = blocks_of(encoder) if rate else []
        self._rates = torch.linspace(0, rate, len(blocks))
        self._scale: Tensor | None = None  # (N, blocks) while active
        for i, block in enumerate(blocks):
            block.register_forward_hook(self._hook(i))

    @contextmanager
    def active(self, random: SampleRandom) -> Iterator[None]:
        """Draw what is left out for each image, for one forward pass."""
        if len(self._rates):
            rates = self._rates.to(random.seeds.device)
            stays = random.uniform(len(rates)) >= rates
            self._scale = stays / (1 - rates)
        try:
            yield
        finally:
            self._scale = None

    def _hook(self, index: int) -> Any:
        def change(block: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if self._scale is None:
                return None
            scale = self._scale[:, index].view(-1, *[1] * (output.ndim - 1)).to(output.dtype)
            return inputs[0] + (output - inputs[0]) * scale

        return change
