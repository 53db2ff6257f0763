"""AdamW with decay for matrices only, and the warm-up and cosine of MAE."""

from __future__ import annotations

import math

import torch
from torch import nn

from ecotone.training.recipe import OptimiserSection, StageSection


def decay_groups(module: nn.Module, weight_decay: float, tokens: bool = False) -> list[dict]:
    """Two parameter groups: matrices and kernels decay, biases and norms do not; tokens and the like by choice.

    Args:
        module: Whose parameters these are.
        weight_decay: Of the first group.
        tokens: Whether tokens (``*_token``), position tables (``*pos_embed*``) and the gains of global response
            normalisation (``*.grn.*``) decay.
    """
    decay, keep = [], []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            (decay if _decays(name, parameter.ndim, tokens) else keep).append(parameter)
    return [{"params": decay, "weight_decay": weight_decay}, {"params": keep, "weight_decay": 0.0}]


def _decays(name: str, axes: int, tokens: bool) -> bool:
    if name.endswith("_token") or "pos_embed" in name or ".grn." in name:
        return tokens
    return axes >= 2 and not name.endswith(".bias")


def build_optimiser(module: nn.Module, section: OptimiserSection, batch_size: int) -> torch.optim.AdamW:
    """AdamW at the peak learning rate for this batch size."""
    groups = decay_groups(module, section.weight_decay, section.decay_tokens)
    return torch.optim.AdamW(groups, lr=section.lr * batch_size / 256, betas=section.betas)


def learning_rate(peak: float, seen: int, stage: StageSection) -> float:
    """Learning rate after ``seen`` images: linear warm-up, then half a cosine to zero (MAE, util/lr_sched.py)."""
    if seen < stage.warmup_images:
        return peak * seen / stage.warmup_images
    progress = (seen - stage.warmup_images) / max(1, stage.images - stage.warmup_images)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
