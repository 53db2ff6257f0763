"""AdamW with decay for matrices only, and the warm-up and cosine of MAE."""

from __future__ import annotations

import math

import torch
from torch import nn

from ecotone.training.recipe import OptimiserSection, StageSection


def decay_groups(module: nn.Module, weight_decay: float) -> list[dict]:
    """Two parameter groups: matrices and kernels decay; biases, norms and tokens (``*_token``) do not."""
    decay, keep = [], []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            (keep if parameter.ndim < 2 or name.endswith("_token") else decay).append(parameter)
    return [{"params": decay, "weight_decay": weight_decay}, {"params": keep, "weight_decay": 0.0}]


def build_optimiser(module: nn.Module, section: OptimiserSection, batch_size: int) -> torch.optim.AdamW:
    """AdamW at the peak learning rate for this batch size."""
    groups = decay_groups(module, section.weight_decay)
    return torch.optim.AdamW(groups, lr=section.lr * batch_size / 256, betas=section.betas)


def learning_rate(peak: float, seen: int, stage: StageSection) -> float:
    """Learning rate after ``seen`` images: linear warm-up, then half a cosine to zero (MAE, util/lr_sched.py)."""
    if seen < stage.warmup_images:
        return peak * seen / stage.warmup_images
    progress = (seen - stage.warmup_images) / max(1, stage.images - stage.warmup_images)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
