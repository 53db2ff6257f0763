"""Runs that start from earlier weights, and chains of stages."""

from __future__ import annotations

import pytest
import torch

from ecotone.errors import CheckpointError, RecipeError
from ecotone.training import parse_recipe, run_recipe
from ecotone.training.initial import start_from
from ecotone.training.planning import plan
from ecotone.weights import load_method_state, load_model

SHORT = {"stage": {"images": 32, "batch_size": 8, "precision": "fp32"}, "monitor": {"samples": 16}}


def chain(recipe, **last):
    first = {"name": "small", "transforms": [{"name": "random-resized-crop", "size": 16}]}
    second = {"name": "large", "transforms": [{"name": "random-resized-crop", "size": 24}], **last}
    return parse_recipe({**recipe, **SHORT, "stages": [first, second]})


def test_a_stage_changes_what_it_names_and_keeps_the_rest(recipe):
    parsed = chain(recipe, optimiser={"weight_decay": 0.1}, stage={"images": 64})
    first, second = parsed.stages
    assert (first.optimiser.lr, second.optimiser.lr) == (0.02, 0.02)
    assert (first.optimiser.weight_decay, second.optimiser.weight_decay) == (0.05, 0.1)
    assert (first.stage.images, second.stage.images, second.stage.batch_size) == (32, 64, 8)
    assert parsed.name == "small" and parsed.stage == second.stage


def test_a_section_of_another_kind_is_replaced_as_a_whole(recipe):
    method = {"kind": "scale-mae", "config": {"decoder_depth": 1}}
    assert chain(recipe, method=method).stages[1].method.config == {"decoder_depth": 1}


def test_a_stage_without_a_name_is_refused(recipe):
    with pytest.raises(RecipeError, match="every entry of stages needs a name"):
        parse_recipe({**recipe, "stages": [{"data": {"path": "x"}}]})


def test_every_stage_starts_from_the_weights_of_the_one_before(recipe, tmp_path):
    rows = []
    parsed = chain(recipe, stage={"images": 8, "batch_size": 8})
    parsed.stages[1].optimiser.lr = 1e-9  # so that the last stage changes next to nothing
    run_recipe(parsed, tmp_path / "run", rows.append)
    first = load_model(tmp_path / "run/stages/1-small")
    last = load_model(tmp_path / "run")
    assert {row["stage"] for row in rows} == {"small", "large"}
    assert last.name == "small" and last.card.encoder.image_size == 24
    assert last.card.provenance["initial"] == {"name": "small-small", "hash": first.hash, "fresh": []}
    for name, tensor in first.encoder.state_dict().items():
        torch.testing.assert_close(last.encoder.state_dict()[name], tensor, atol=1e-6, rtol=1e-6)
    before, after = load_method_state(tmp_path / "run/stages/1-small"), load_method_state(tmp_path / "run")
    torch.testing.assert_close(after["decoder_pred.weight"], before["decoder_pred.weight"], atol=1e-6, rtol=1e-6)


def test_a_finished_chain_is_not_trained_again(recipe, tmp_path):
    parsed = chain(recipe)
    run_recipe(parsed, tmp_path / "run")
    hashes = [load_model(tmp_path / p).hash for p in ("run/stages/1-small", "run")]
    rows = []
    run_recipe(parsed, tmp_path / "run", rows.append)
    assert rows == []
    assert hashes == [load_model(tmp_path / p).hash for p in ("run/stages/1-small", "run")]


def test_other_bands_take_over_the_kernels_of_the_bands_they_share(recipe, tmp_path):
    run_recipe(parse_recipe({**recipe, **SHORT}), tmp_path / "rgb")
    trained = load_model(tmp_path / "rgb").encoder.patch_embed.proj.weight
    made = plan(parse_recipe({**recipe, **SHORT, "input": {"bands": ["B", "R"]}}))
    report = start_from(made.method, tmp_path / "rgb")
    torch.testing.assert_close(made.method.encoder.patch_embed.proj.weight, trained[:, [2, 0]])
    assert report["fresh"] == ["decoder_pred.bias", "decoder_pred.weight"]  # it predicts other bands now


def test_another_architecture_is_refused_with_both_named(recipe, tmp_path):
    run_recipe(parse_recipe({**recipe, **SHORT}), tmp_path / "narrow")
    wide = {"config": {"patch": 8, "width": 64, "depth": 2, "heads": 2}}
    made = plan(parse_recipe({**recipe, "encoder": wide}))
    with pytest.raises(CheckpointError, match=r"another architecture.*'width': 32.*'width': 64"):
        start_from(made.method, tmp_path / "narrow")


def test_a_new_band_starts_from_the_mean_of_the_old_ones(recipe):
    old = plan(parse_recipe({**recipe, "input": {"bands": ["R", "G"]}})).method.encoder
    spec = plan(parse_recipe(recipe)).method.encoder.spec
    new = old.adapt(spec=spec)
    kernels = old.patch_embed.proj.weight
    torch.testing.assert_close(new.patch_embed.proj.weight[:, :2], kernels)
    torch.testing.assert_close(new.patch_embed.proj.weight[:, 2], kernels.mean(1))


def test_tokens_positions_and_grn_decay_only_by_choice(recipe):
    from ecotone.training.optimiser import decay_groups

    method = plan(parse_recipe(recipe)).method
    method.register_parameter("pos_embed_spatial", torch.nn.Parameter(torch.zeros(1, 4, 8)))
    tokens = {id(method.mask_token), id(method.encoder.cls_token), id(method.pos_embed_spatial)}
    for choice in (False, True):
        decayed = {id(p) for p in decay_groups(method, 0.05, choice)[0]["params"]}
        assert (tokens <= decayed) is choice and (tokens & decayed == set()) is not choice
        assert id(method.decoder_pred.weight) in decayed and id(method.decoder_pred.bias) not in decayed
