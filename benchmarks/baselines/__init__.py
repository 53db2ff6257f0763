"""Plain renderings of what the authors' code computes, written from the papers and from its measured behaviour.

Every one takes the weights of our method, so that equality of loss and gradients is asserted before anything is timed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Literal(nn.Module):
    """A rendering with the parameter names of our method; shapes may differ in axes of length one."""

    def adopt(self, ours: nn.Module) -> None:
        """Copy all weights of our method."""
        state, own = self.translate(ours.state_dict()), dict(self.named_parameters())
        if state.keys() != own.keys():
            raise KeyError(f"names that only one side has: {sorted(state.keys() ^ own.keys())}")
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(state[name].reshape(parameter.shape))

    def translate(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Our method's weights, or their gradients, under the names used here."""
        return tensors
