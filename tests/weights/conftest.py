"""Small official-looking files, a server, and a cache of the test's own."""

from __future__ import annotations

from argparse import Namespace
from pathlib import PosixPath

import pytest
import torch
from range_server import running

from ecotone.encoders import build_encoder
from ecotone.methods import build_method
from ecotone.methods.released.scale_mae import RELEASED


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """No test reads or writes the user's cache or catalogue."""
    monkeypatch.setenv("ECOTONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ECOTONE_CATALOGUE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def server():
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def scale_mae():
    """A small Scale-MAE of ours, whose names are the official ones."""
    torch.manual_seed(0)
    size = {"width": 32, "depth": 2, "heads": 2}
    encoder = build_encoder("vit", RELEASED.input, RELEASED.readout, {**RELEASED.encoder, **size})
    small = {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2, "head_width": 8, "head_layers": 1}
    return build_method("scale-mae", encoder, {**RELEASED.options, **small})


@pytest.fixture
def official(scale_mae):
    """Its weights as the authors' training script would save them, with the tables that nothing reads."""
    state = {k.removeprefix("encoder."): v for k, v in scale_mae.state_dict().items()}
    unused = {"pos_embed": torch.randn(1, 197, 32), "decoder_pos_embed": torch.zeros(1, 197, 16)}
    return {**state, **unused, "mask_token_decoder": torch.zeros(1, 1, 16)}


@pytest.fixture
def official_file(official, tmp_path):
    """A checkpoint with everything that the released files hold."""
    file = tmp_path / "scalemae-small-800.pth"
    args = Namespace(output_dir=PosixPath("/data/out"), lr=1.5e-4, band_config=[14, 224], use_l1_loss=True, seed=None)
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
    scaler = {"scale": 65536.0, "growth_factor": 2.0}
    torch.save({"model": official, "optimizer": optimizer, "epoch": 799, "scaler": scaler, "args": args}, file)
    return file
