"""Small labelled imagery in memory, and a tiny encoder that takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture

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


@pytest.fixture(autouse=True)
def small_budget(monkeypatch):
    """The network that is trained from scratch sees few images: its full budget would take minutes over all tests."""
    monkeypatch.setattr("ecotone.evaluation.small_network.BUDGET", 256)


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


@pytest.fixture
def lamps(tmp_path):
    """A dataset folder of images whose red and green brightness each say one thing; labels are classes or a value."""

    def make(task: str, counts=(60, 30, 40), *, name="lamps", seed=0) -> Path:
        root = tmp_path / name
        root.mkdir()
        rng = np.random.default_rng(seed)
        lines = ["path,label,split"]
        for split, n in zip(("train", "val", "test"), counts, strict=True):
            for i in range(n):
                red, green = rng.integers(0, 2, 2)
                pixels = 80 + np.array([80 * red, 80 * green, 0]) + rng.normal(0, 20, (16, 16, 3))
                Picture.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / f"{split}{i}.png")
                names = "|".join(name for name, has in (("red", red), ("green", green)) if has)
                value = 3 * red - green + 0.1 * rng.normal()
                lines.append(f"{split}{i}.png,{names if task == 'multilabel' else f'{value:.3f}'},{split}")
        (root / "manifest.csv").write_text("\n".join(lines) + "\n")
        more = "classes: [red, green, blue]\n" if task == "multilabel" else "label_unit: t/ha\n"
        (root / "dataset.yaml").write_text(
            f"name: lamps\ntask: {task}\nsensor: rgb\nbands: [R, G, B]\nunit: uint8\ngsd: 10.0\n{more}"
        )
        return root

    return make
