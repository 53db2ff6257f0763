"""Decay groups and the learning-rate schedule."""

from __future__ import annotations

import json

import pytest

from ecotone.training.optimiser import build_optimiser, decay_groups, learning_rate
from ecotone.training.planning import plan
from ecotone.training.recipe import OptimiserSection, StageSection, parse_recipe


def test_matrices_decay_and_biases_norms_and_tokens_do_not(recipe):
    method = plan(parse_recipe(recipe)).method
    decay, keep = decay_groups(method, 0.05)
    names = {id(p): n for n, p in method.named_parameters()}
    kept = {names[id(p)] for p in keep["params"]}
    assert {"encoder.cls_token", "mask_token", "encoder.norm.weight", "decoder_pred.bias"} <= kept
    assert all(p.ndim >= 2 for p in decay["params"])
    assert len(decay["params"]) + len(keep["params"]) == len(names)
    assert (decay["weight_decay"], keep["weight_decay"]) == (0.05, 0.0)


def test_the_learning_rate_scales_with_the_batch(recipe):
    method = plan(parse_recipe(recipe)).method
    optimiser = build_optimiser(method, OptimiserSection(lr=1e-3), 64)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(2.5e-4)


def test_warm_up_then_half_a_cosine():
    stage = StageSection(images=1100, batch_size=10, warmup_images=100)
    rates = [learning_rate(2.0, seen, stage) for seen in (0, 50, 100, 600, 1100)]
    assert rates == pytest.approx([0.0, 1.0, 2.0, 1.0, 0.0])


def test_the_schedule_is_the_official_one(reference):
    golden = reference / "scalemae" / "golden.json"
    if not golden.exists():
        pytest.skip(f"{golden} is absent")
    schedule = json.loads(golden.read_text())["lr_schedule"]
    stage = StageSection(
        images=schedule["epochs"] * 1000, batch_size=10, warmup_images=schedule["warmup_epochs"] * 1000
    )
    for epoch, expected in schedule["points"]:
        rate = learning_rate(schedule["lr_peak"], round(epoch * 1000), stage)
        assert rate == pytest.approx(expected, rel=1e-5, abs=1e-12)
