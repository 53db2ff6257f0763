"""A Sentinel-2 product embedded from the command line: offset, mask and GSD are applied once and stand in the facts."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
import torch
from safe_product import START, write_product, zipped
from typer.testing import CliRunner

from ecotone.cli import app
from ecotone.embeddings import open_source, open_store
from ecotone.encoders import build_encoder
from ecotone.inputs import Identity, InputSpec, RoleSpec
from ecotone.sensors import sensor
from ecotone.weights import save_model


@pytest.fixture
def model(tmp_path):
    bands = sensor("sentinel2-l2a").band_names
    role = RoleSpec(sensor="sentinel2-l2a", bands=bands, unit="reflectance", normaliser=Identity(), gsd=(20, 30))
    torch.manual_seed(0)
    config = {"patch": 8, "width": 16, "depth": 1, "heads": 2}
    encoder = build_encoder("vit", InputSpec(roles={"optical": role}, size_multiple=8), None, config)
    return save_model(encoder, tmp_path / "model", name="tiny", image_size=16)


def embed(source, model, out):
    arguments = ["embed", source, "--model", model, "--out", out, "--mask", "clouds", "--at-gsd", "model"]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return open_store(out)


def test_a_zip_with_an_offset_embeds_as_the_same_ground_without_one(tmp_path, model):
    new = zipped(write_product(tmp_path / "new"))
    old = write_product(tmp_path / "old", baseline="02.14", offset=None, shift=-1000)
    with_offset, without = embed(new, model, tmp_path / "a.parquet"), embed(old, model, tmp_path / "b.parquet")
    assert len(with_offset) == len(without) > 4
    whole = with_offset.columns(["col"])["col"].to_numpy() > 0  # the first column holds the edge of the swath
    np.testing.assert_allclose(with_offset.vectors[whole], without.vectors[whole], atol=1e-4)
    facts = with_offset.parts[0].facts
    assert (facts.gsd, facts.gsd_source, facts.raster.mask) == (20.0, "resampled", "clouds")
    assert (facts.raster.unit, facts.raster.origin["BOA_ADD_OFFSET"]) == ("reflectance x 10000 + 1000", "-1000")
    assert facts.raster.name.startswith("S2A_MSIL2A_20230612")
    assert with_offset.rows([0])[0]["time"] == datetime.fromisoformat(START)
    with open_source(with_offset.parts[0]) as again:
        assert (again.shape, again.unit.name, again.mask) == ((48, 48), "reflectance x 10000 + 1000", "clouds")


def test_a_mask_that_is_not_there_is_one_sentence(tmp_path, model):
    safe = write_product(tmp_path / "new")
    for layer in safe.rglob("*SCL*"):
        layer.unlink()
    arguments = ["embed", safe, "--model", model, "--out", tmp_path / "a.parquet", "--mask", "clouds"]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code != 0 and "no quality layer that tells clouds" in " ".join(
        str(result.exception or result.output).split()
    )
    assert not (tmp_path / "a.parquet").exists()
