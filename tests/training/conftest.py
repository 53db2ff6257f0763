"""A folder of small tiles and a recipe that trains on it in seconds."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from PIL import Image as PillowImage


@pytest.fixture(scope="session")
def tiles(tmp_path_factory):
    """72 tiles of two textures, in train and val."""
    folder = tmp_path_factory.mktemp("tiles")
    draw = np.random.default_rng(0)
    rows = ["path,label,split"]
    for i in range(72):
        label = ("stripes", "noise")[i % 2]
        wave = np.sin(np.arange(24) * draw.uniform(0.5, 1.5))[None, :, None] * 60 + 128
        noise = draw.normal(128, 40, (24, 24, 3))
        pixels = np.clip(wave + draw.normal(0, 8, (24, 24, 3)) if label == "stripes" else noise, 0, 255)
        PillowImage.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:03d}.png")
        rows.append(f"{i:03d}.png,{label},{'val' if i % 6 == 0 else 'train'}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    facts = {"name": "tiles", "task": "classification", "sensor": "rgb", "bands": ["R", "G", "B"], "unit": "uint8"}
    (folder / "dataset.yaml").write_text(yaml.safe_dump({**facts, "gsd": 10.0, "classes": ["noise", "stripes"]}))
    return folder


@pytest.fixture
def recipe(tiles) -> dict:
    """A whole recipe as YAML would give it."""
    return {
        "name": "small",
        "data": {"path": str(tiles), "split": "train"},
        "encoder": {"config": {"patch": 8, "width": 32, "depth": 2, "heads": 2}},
        "method": {
            "kind": "mae",
            "config": {"mask_ratio": 0.5, "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 1},
        },
        "transforms": [{"name": "random-resized-crop", "size": 16, "scale": [0.5, 1.0]}, {"name": "flip"}],
        "optimiser": {"lr": 0.02},
        "stage": {"images": 192, "batch_size": 8, "warmup_images": 16, "precision": "fp32"},
        "monitor": {"path": str(tiles), "every_images": 96},
        "checkpoint_every_images": 32,
    }
