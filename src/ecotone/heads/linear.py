"""The linear head."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from ecotone.encoders import Features
from ecotone.heads.base import Head


class LinearHead(Head):
    """One linear layer on the pooled vector, standardised by fixed statistics.

    Args:
        features: Length D of the pooled vector.
        outputs: Scores K.
    """

    kind = "linear"

    def __init__(self, *, features: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.linear = nn.Linear(features, outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def standardise_by(self, pooled: Tensor) -> None:
        """Take the statistics of training features (N, D); a feature that hardly varies is only centred."""
        std = pooled.std(0, correction=0)
        self.mean = pooled.mean(0)
        self.std = torch.where(std > 1e-8, std, 1.0)

    def standardised(self, pooled: Tensor) -> Tensor:
        """(N, D) features, of mean 0 and standard deviation 1 over the training images."""
        return (pooled.float() - cast(Tensor, self.mean)) / cast(Tensor, self.std)

    def forward(self, features: Features) -> Tensor:
        return self.linear(self.standardised(features.pooled))

    def config(self) -> dict[str, Any]:
        return {"features": self.linear.in_features, "outputs": self.linear.out_features}
