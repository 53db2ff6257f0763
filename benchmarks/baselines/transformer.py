"""The transformer block of the published code: attention as two matrix products with a softmax between."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(N, heads, L, d) queries, keys and values to (N, L, heads * d)."""
    scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """One projection to queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        qkv = self.qkv(x).reshape(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(attend(qkv[0], qkv[1], qkv[2]))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width: int, attention: nn.Module, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = attention
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def shuffle_mask(noise: Tensor, ratio: float) -> tuple[Tensor, Tensor, Tensor]:
    """MAE's random masking of (N, L) noise: kept indices, indices that restore the order, mask (1 = removed)."""
    n, length = noise.shape
    kept = int(length * (1 - ratio))
    shuffle = noise.argsort(1)
    restore = shuffle.argsort(1)
    mask = noise.new_ones(n, length)
    mask[:, :kept] = 0
    return shuffle[:, :kept], restore, mask.gather(1, restore)


def pick(tokens: Tensor, indices: Tensor) -> Tensor:
    return tokens.gather(1, indices[:, :, None].repeat(1, 1, tokens.shape[-1]))


def fill(visible: Tensor, mask_token: Tensor, restore: Tensor) -> Tensor:
    """Visible tokens and mask tokens in the original order."""
    blanks = mask_token.repeat(len(visible), restore.shape[1] - visible.shape[1], 1)
    return pick(torch.cat([visible, blanks], 1), restore)
