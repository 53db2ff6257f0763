"""The collapse measure tells a spread embedding from a collapsed one."""

from __future__ import annotations

import pytest
import torch

from ecotone.training.monitor import collapse


def test_a_spread_embedding_fills_the_sphere():
    figures = collapse(torch.randn(2000, 32, generator=torch.Generator().manual_seed(0)))
    assert figures["feature_std"] == pytest.approx(1.0, abs=0.05)
    assert figures["effective_rank"] == pytest.approx(32, abs=1)


def test_a_collapsed_embedding_has_neither_spread_nor_rank():
    noise = 1e-3 * torch.randn(500, 1, generator=torch.Generator().manual_seed(0))
    figures = collapse(torch.ones(500, 32) + noise * torch.arange(32))
    assert figures["feature_std"] < 0.1
    assert figures["effective_rank"] < 1.5
