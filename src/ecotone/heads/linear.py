"""The linear head, and its exact fit on fixed features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
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


Loss = Callable[[Tensor, Tensor], Tensor]  # scores (N, K) and targets -> mean loss
# Inverse strengths C of the penalty as scikit-learn counts it, from strong to weak.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


def linear_path(
    x: Tensor, targets: Tensor, outputs: int, loss: Loss, strengths: Sequence[float] = STRENGTHS, iterations: int = 500
) -> list[tuple[Tensor, Tensor]]:
    """Linear scores that minimise ``loss + |weight|^2 / (2 C N)``, for each strength C.

    The problem is convex for the losses of this package and solved in float64 by L-BFGS, each C from the solution
    before it; nothing is drawn at random. For the cross-entropy these are scikit-learn's logistic regressions.

    Args:
        x: (N, D) standardised features.
        targets: What ``loss`` compares scores with, N first.
        outputs: Scores K.
        loss: Mean loss of scores (N, K).
        strengths: C, ascending.
        iterations: Most L-BFGS iterations for each C.

    Returns:
        Weight (K, D) and bias (K,), float32, for each C.
    """
    x, targets = x.double(), targets.double() if targets.is_floating_point() else targets
    weight = torch.zeros(outputs, x.shape[1], dtype=torch.float64, device=x.device, requires_grad=True)
    bias = torch.zeros(outputs, dtype=torch.float64, device=x.device, requires_grad=True)
    path = []
    for c in strengths:
        solver = torch.optim.LBFGS(
            [weight, bias], max_iter=iterations, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
        )

        def objective(c: float = c, solver: torch.optim.LBFGS = solver) -> Tensor:
            solver.zero_grad()
            value = loss(F.linear(x, weight, bias), targets) + weight.square().sum() / (2 * c * len(x))
            value.backward()
            return value

        with torch.enable_grad():
            solver.step(objective)
        path.append((weight.detach().float().clone(), bias.detach().float().clone()))
    return path
