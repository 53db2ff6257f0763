"""Small labelled imagery in memory, and a tiny encoder that takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import torch

from ecotone.data.base import DatasetInfo
from ecotone.encoders import Readout, ViT
from ecotone.inputs import InputSpec, RoleSpec, ZScore
from ecotone.samples import Image, Sample
from ecotone.sensors import unit


@dataclass
class Memory:
    """A dataset in memory that records which samples were read, in order, in a log shared by its splits."""

    name: str
    info: DatasetInfo
    pixels: torch.Tensor
    targets: Sequence[int]
    gsd: float | None = 10.0
    log: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Sample:
        self.log.append(self.name)
        image = Image(self.pixels[index].unsqueeze(0), ("R", "G", "B"), unit("uint8"), gsd=self.gsd, sensor="rgb")
        return Sample({"optical": image}, key=self.keys()[index], targets={"label": int(self.targets[index])})

    def keys(self) -> list[str]:
        return [f"{self.name}/{i}" for i in range(len(self))]

    def labels(self) -> list[str]:
        return [self.info.classes[i] for i in self.targets]


@pytest.fixture
def make_splits():
    """Train, val and test whose classes differ in brightness and in texture, with noise."""

    def make(counts=(60, 30, 120), *, size=32, gsd=10.0, classes=3, seed=0, **info) -> dict[str, Memory]:
        g = torch.Generator().manual_seed(seed)
        facts = DatasetInfo(
            "patterns",
            task="classification",
            sensor="rgb",
            bands=("R", "G", "B"),
            unit="uint8",
            gsd=gsd,
            gsd_source="declared" if gsd else "unknown",
            classes=tuple(f"class {i}" for i in range(classes)),
            **info,
        )
        log: list[str] = []
        splits = {}
        for name, n in zip(("train", "val", "test"), counts, strict=True):
            y = torch.randint(classes, (n,), generator=g)
            noise = torch.randn(n, 3, size, size, generator=g)
            pixels = (90 + 25 * y[:, None, None, None] + (15 + 10 * y[:, None, None, None]) * noise).clamp(0, 255)
            splits[name] = Memory(name, facts, pixels.byte(), y.tolist(), gsd, log)
        return splits

    return make


@pytest.fixture
def tiny_encoder():
    """A ViT of two blocks over RGB, for 5 to 100 m."""

    def make(*, patch=4, seed=0, gsd=(5.0, 100.0), positions="sincos", pooling="mean") -> ViT:
        role = RoleSpec(
            sensor="rgb",
            bands=("R", "G", "B"),
            unit="uint8",
            normaliser=ZScore(mean=(110.0,) * 3, std=(30.0,) * 3),
            gsd=gsd,
        )
        spec = InputSpec(roles={"optical": role}, size_multiple=patch)
        torch.manual_seed(seed)
        encoder = ViT(spec, Readout(pooling=pooling), patch=patch, width=16, depth=2, heads=2, positions=positions)
        return encoder.eval()

    return make
