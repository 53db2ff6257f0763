"""Low-rank adapters (LoRA, Hu et al., ICLR 2022) on the linear layers of an encoder's blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ecotone.encoders import Encoder
from ecotone.errors import RecipeError
from ecotone.training.finetuning.depth import blocks_of


class LowRank(nn.Module):
    """``W + up @ down * 2``: what is added starts at zero. The factor is LoRA's alpha / rank with alpha = 2 rank."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        out, features = weight.shape
        self.down = nn.Parameter(torch.randn(rank, features) / features**0.5)
        self.up = nn.Parameter(torch.zeros(out, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down) * 2.0


def add_adapters(encoder: Encoder, rank: int) -> int:
    """Freeze the encoder and add trainable low-rank parts to the linear layers of its blocks.

    Returns:
        How many layers have one.

    Raises:
        RecipeError: The encoder has no blocks with linear layers.
    """
    layers = [m for block in blocks_of(encoder) for m in block.modules() if isinstance(m, nn.Linear)]
    if not layers:
        raise RecipeError(f"the encoder {encoder.kind} has no blocks with linear layers", mend="Choose another mode.")
    encoder.requires_grad_(False)
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank))
    return len(layers)


def merge_adapters(encoder: Encoder) -> None:
    """Put what the adapters add into the weights, and make the encoder a plain one again."""
    for module in list(encoder.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    encoder.requires_grad_(True)
