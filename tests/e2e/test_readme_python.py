"""The Python of the README and of the tutorial runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from ecotone.cli import app
from ecotone.encoders import build_encoder
from ecotone.inputs import Identity, InputSpec, RoleSpec
from ecotone.sensors import sensor
from ecotone.weights import save_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The scene of the pages, and an encoder of random weights where they have a trained one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECOTONE_CACHE", str(tmp_path / "cache"))
    app(
        ["data", "synth", "--out", "scene", "--kind", "scene", "--sensor", "sentinel2-l2a", "--size", "512"],
        standalone_mode=False,
    )
    torch.manual_seed(0)
    bands = sensor("sentinel2-l2a").band_names
    role = RoleSpec(sensor="sentinel2-l2a", bands=bands, unit="reflectance", normaliser=Identity())
    spec = InputSpec(roles={"optical": role}, size_multiple=8)
    encoder = build_encoder("vit", spec, None, {"patch": 8, "width": 16, "depth": 1, "heads": 2})
    for name in ("runs/first", "runs/s2"):
        save_model(encoder, tmp_path / name / "model", name="tiny", image_size=32)
    return tmp_path


def python_of(page: str) -> str:
    found = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    assert len(found) == 1
    return found[0]


def test_the_python_of_the_pages_runs(place):
    for page, count in (("README.md", 5), ("docs/tutorials/own-rasters.md", 12)):
        known: dict = {}
        exec(python_of(page), known)
        assert [h.rank for h in known["hits"]] == list(range(1, count + 1))
        assert known["store"]._repr_html_().count("<image") == 1
    assert (place / "scene" / "embeddings.parquet").is_file()
    assert len(list((place / "cache" / "embeddings").glob("image-*.parquet"))) == 1
