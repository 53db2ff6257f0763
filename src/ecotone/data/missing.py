"""How much of each modality is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ecotone.modalities import Modality
from ecotone.samples import Sample


class MissingShares:
    """Shares of missing values by modality, over the samples added.

    Args:
        modalities: By name.
    """

    def __init__(self, modalities: Mapping[str, Modality]) -> None:
        self._modalities = modalities
        self._sums = {name: torch.zeros(_columns(m), dtype=torch.float64) for name, m in modalities.items()}
        self._count = 0

    def add(self, sample: Sample) -> None:
        """Count one sample."""
        self._count += 1
        for name, modality in self._modalities.items():
            self._sums[name] += missing(sample, modality).flatten(1).double().mean(1)

    def table(self) -> dict[str, dict[str, Any]]:
        """Name -> what the modality is, and the share of its values that is missing, also by channel if measured."""
        rows = {}
        for name, modality in self._modalities.items():
            shares = self._sums[name] / max(self._count, 1)
            rows[name] = {
                "scope": modality.scope,
                "kind": modality.kind,
                "unit": modality.unit,
                "channels": len(modality.channels),
                "missing_share": float(shares.mean()),
            }
            if modality.kind == "continuous":
                rows[name]["missing_by_channel"] = dict(zip(modality.channels, shares.tolist(), strict=True))
        return rows


def missing(sample: Sample, modality: Modality) -> Tensor:
    """(C, …) bool, True where a modality has no value; one channel for classes."""
    if modality.scope == "pixel":
        values = sample.images[modality.role].pixels.transpose(0, 1)  # channels first, dates after
    else:
        values = torch.as_tensor(sample.targets[modality.role]).view(-1, 1)
    return values < 0 if modality.kind == "categorical" else ~values.isfinite()


def _columns(modality: Modality) -> int:
    return len(modality.channels) if modality.kind == "continuous" else 1
