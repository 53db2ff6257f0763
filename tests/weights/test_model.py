"""Model folders: what goes in comes out, and nothing else does."""

from __future__ import annotations

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from ecotone.encoders import Readout, build_encoder
from ecotone.errors import CheckpointError
from ecotone.inputs import InputSpec, RoleSpec, ZScore
from ecotone.samples import Batch, ImageBatch
from ecotone.sensors import unit
from ecotone.weights import load_model, save_model


@pytest.fixture
def encoder():
    role = RoleSpec(
        sensor="rgb", bands=("R", "G", "B"), unit="uint8", normaliser=ZScore(mean=(1.0,) * 3, std=(2.0,) * 3)
    )
    config = {"patch": 8, "width": 16, "depth": 1, "heads": 2, "positions": "gsd", "reference_gsd": 2.0}
    spec = InputSpec(roles={"optical": role}, size_multiple=8)
    return build_encoder("vit", spec, Readout(pooling="mean-std", layers=(0,)), config).eval()


@pytest.fixture
def folder(encoder, tmp_path):
    return save_model(encoder, tmp_path / "run" / "model", name="m", image_size=16, provenance={"seed": 3})


def test_a_model_comes_back_as_it_was(encoder, folder):
    image = ImageBatch.of(torch.rand(2, 3, 16, 16), bands=("R", "G", "B"), unit=unit("uint8"), gsd=3.0)
    batch = Batch(images={"optical": image}, keys=("", ""), seeds=torch.zeros(2, dtype=torch.int64))
    model = load_model(folder)
    assert torch.equal(model.encoder(batch).pooled, encoder(batch).pooled)
    assert model.encoder.spec == encoder.spec
    assert model.card.provenance == {"seed": 3}
    assert load_model(folder.parent).hash == model.hash


def test_the_hash_follows_the_weights(encoder, folder, tmp_path):
    with torch.no_grad():
        encoder.norm.bias += 1
    other = save_model(encoder, tmp_path / "other", name="m", image_size=16)
    assert load_model(other).hash != load_model(folder).hash


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is not a model; found no such folder"):
        load_model(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="a folder without them"):
        load_model(tmp_path)


def test_a_missing_or_misshapen_tensor_is_refused(folder):
    state = load_file(folder / "model.safetensors")
    whole = dict(state)
    del state["norm.bias"]
    save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"1 tensors differ, such as norm\.bias; found absent"):
        load_model(folder)
    save_file({**whole, "norm.bias": torch.zeros(3)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"found \(3,\)"):
        load_model(folder)


def test_a_damaged_file_is_refused(folder):
    (folder / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(CheckpointError, match="damaged"):
        load_model(folder)


def test_a_card_of_another_kind_is_refused(folder):
    card = yaml.safe_load((folder / "ecotone.yaml").read_text())
    card["schema_version"] = 2
    (folder / "ecotone.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(CheckpointError, match="of a kind this version does not know"):
        load_model(folder)
