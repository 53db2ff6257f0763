"""Random masking: which tokens an encoder sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenMask:
    """Visible and hidden tokens of N images.

    Attributes:
        keep: (N, K) indices of visible tokens, in shuffled order.
        restore: (N, L) inverse of the shuffle.
        hidden: (N, L) float, 1 where the token is removed.
    """

    keep: Tensor
    restore: Tensor
    hidden: Tensor

    def unshuffle(self, visible: Tensor, mask_token: Tensor) -> Tensor:
        """(N, K, D) visible tokens, in the order of ``keep``, to (N, L, D) with the mask token (D) elsewhere."""
        n, k, width = visible.shape
        blanks = mask_token.expand(n, self.restore.shape[1] - k, width).to(visible.dtype)
        return take(torch.cat([visible, blanks], 1), self.restore)


def random_mask(noise: Tensor, ratio: float) -> TokenMask:
    """MAE's random masking: the tokens with the smallest noise stay visible.

    Args:
        noise: (N, L) uniform numbers.
        ratio: Fraction of tokens to remove; ``int(L * (1 - ratio))`` stay.
    """
    n, length = noise.shape
    visible = int(length * (1 - ratio))
    shuffle = noise.argsort(1)
    hidden = torch.ones(n, length, device=noise.device)
    hidden.scatter_(1, shuffle[:, :visible], 0.0)
    return TokenMask(keep=shuffle[:, :visible], restore=shuffle.argsort(1), hidden=hidden)


def take(tokens: Tensor, indices: Tensor) -> Tensor:
    """Tokens (N, L, D) at indices (N, K): (N, K, D)."""
    return tokens.gather(1, indices[..., None].expand(-1, -1, tokens.shape[-1]))
