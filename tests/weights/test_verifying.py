"""Verification finds what is wrong with a model folder, and says nothing is when nothing is."""

from __future__ import annotations

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from ecotone.errors import CheckpointError
from ecotone.files import file_sha256
from ecotone.inputs import Identity, InputSpec, MinMaxPerImage, RoleSpec, TwoSigmaToUnit, ZScore, ZScoreByLevel
from ecotone.weights import import_official, save_model, verify
from ecotone.weights.probing import synthetic_batch

WEIGHTS, CARD, METHOD = "model.safetensors", "ecotone.yaml", "method.safetensors"


@pytest.fixture
def folder(official_file, tmp_path):
    import_official(official_file, "scale-mae", tmp_path / "model", heads=2, decoder_heads=2)
    return tmp_path / "model"


def change(file, name, rehash=True):
    """Change one number in a file of weights; with ``rehash`` the card is made to agree."""
    state = load_file(file)
    state[name].flatten()[0] += 1e-3
    save_file(state, file)
    if rehash:
        card = yaml.safe_load((file.parent / CARD).read_text())
        card["weights_sha256"] = file_sha256(file.parent / WEIGHTS)
        (file.parent / CARD).write_text(yaml.safe_dump(card))


def test_a_sound_model_is_described(folder, official_file, scale_mae):
    found = verify(folder, official_file)
    assert found.hash_known and found.sha256 == file_sha256(folder / WEIGHTS)
    assert found.parameters == sum(p.numel() for p in scale_mae.encoder.parameters())
    assert (found.image_size, found.pooled, found.maps) == (224, (2, 32), ((2, 32, 14, 14),))
    assert found.compared == len(scale_mae.state_dict())


def test_changed_weights_do_not_pass_for_those_of_the_card(folder):
    change(folder / WEIGHTS, "norm.bias", rehash=False)
    with pytest.raises(CheckpointError, match="not those that its card was written for; found sha256"):
        verify(folder)


def test_a_card_of_an_older_version_names_no_hash(folder):
    card = yaml.safe_load((folder / CARD).read_text())
    del card["weights_sha256"]
    (folder / CARD).write_text(yaml.safe_dump(card))
    assert not verify(folder).hash_known


@pytest.mark.parametrize(
    ("file", "name"), [(WEIGHTS, "norm.bias"), (METHOD, "decoder_norm.bias"), (METHOD, "encoder.norm.bias")]
)
def test_a_single_number_that_differs_from_the_official_file_is_found(file, name, folder, official_file):
    change(folder / file, name)
    verify(folder)
    with pytest.raises(CheckpointError, match=rf"{file} is not .*: 1 of \d+ tensors differ; found {name}"):
        verify(folder, official_file)


def test_a_decoder_that_went_missing_is_found(folder, official_file):
    (folder / METHOD).unlink()
    with pytest.raises(CheckpointError, match="90 of 90 tensors differ"):
        verify(folder, official_file)


def test_numbers_that_are_not_finite_are_found(scale_mae, tmp_path):
    encoder = scale_mae.encoder
    saved = encoder.norm.bias[1].item()
    with torch.no_grad():
        encoder.norm.bias[1] = float("nan")
        save_model(encoder, tmp_path / "nan", name="x", image_size=32)
        encoder.norm.bias[1] = saved
    with pytest.raises(CheckpointError, match=r"not finite, in norm\.bias"):
        verify(tmp_path / "nan")


def test_a_trained_model_has_no_official_file_to_compare_with(scale_mae, official_file, tmp_path):
    save_model(scale_mae.encoder, tmp_path / "own", name="x", image_size=32)
    assert verify(tmp_path / "own").against is None
    with pytest.raises(CheckpointError, match="was not imported from an official file"):
        verify(tmp_path / "own", official_file)


Z = ZScore(mean=(900.0, 1100.0), std=(300.0, 500.0))


@pytest.mark.parametrize(
    "normaliser",
    [
        Z,
        ZScoreByLevel(levels={"L1C": Z, "L2A": Z}),
        TwoSigmaToUnit(mean=Z.mean, std=Z.std),
        MinMaxPerImage(),
        Identity(),
    ],
    ids=lambda n: n.kind,
)
@pytest.mark.parametrize("more", [{}, {"gsd": (5.0, 20.0), "gsd_required": True}, {"level": "L2A"}], ids=str)
def test_synthetic_images_meet_any_spec(normaliser, more):
    role = RoleSpec(
        sensor="sentinel2-l2a", bands=("B3", "B2"), unit="reflectance x 10000", normaliser=normaliser, **more
    )
    spec = InputSpec(roles={"optical": role}, size_multiple=8)
    prepared = spec.prepare(synthetic_batch(spec, 16, 3))["optical"]
    assert prepared.pixels.shape == (3, 1, 2, 16, 16) and bool(prepared.pixels.isfinite().all())
    if normaliser is not Z and normaliser.kind != "identity":
        assert float(prepared.pixels.abs().max()) <= 1.0001
