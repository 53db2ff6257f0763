"""Golden tensors of the SatMAE repository: the plain MAE now; its spectral and temporal variants wait for a method."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from roots import ROOT, case_id, cases, close
from safetensors.torch import load_file

from ecotone.encoders import ViT
from ecotone.inputs import NORMALISED, Identity, InputSpec, RoleSpec
from ecotone.methods import MAE
from ecotone.nn.masking import TokenMask, random_mask
from ecotone.nn.positions import sincos_positions
from ecotone.samples import Batch, ImageBatch

FIXED = {"pos_embed", "decoder_pos_embed"}  # sine-cosine tables, which we compute


class Case:
    """One ``<case>.json`` with the tensors beside it."""

    def __init__(self, path: Path):
        self.path, self.golden = path, json.loads(path.read_text())
        self.config = self.golden["config"]

    @cached_property
    def tensors(self) -> dict[str, torch.Tensor]:
        return load_file(self.path.with_suffix(".safetensors"))

    @property
    def unsupported(self) -> str | None:
        """Why no method of ours computes this variant; None for the plain MAE."""
        if "channel_groups" in self.config:
            return "no group-channel method yet"
        if any("timestamps" in name for name in self.golden["tensors"]):
            return "no temporal method yet"
        return None

    def out(self, name: str) -> torch.Tensor:
        return self.tensors[f"out.{name}"]

    def method(self, **options) -> MAE:
        config = self.config
        bands = tuple(f"B{i}" for i in range(1, config["in_chans"] + 1)) if config["in_chans"] != 3 else ("R", "G", "B")
        sensor = "rgb" if config["in_chans"] == 3 else "sentinel2-l1c"
        role = RoleSpec(sensor=sensor, bands=bands, unit="uint8", normaliser=Identity())
        encoder = ViT(
            InputSpec(roles={"optical": role}),
            patch=config["patch_size"],
            width=config["embed_dim"],
            depth=config["depth"],
            heads=config["num_heads"],
            mlp_ratio=config["mlp_ratio"],
        )
        method = MAE(
            encoder,
            mask_ratio=self.golden["mask_ratio"],
            decoder_width=config["decoder_embed_dim"],
            decoder_depth=config["decoder_depth"],
            decoder_heads=config["decoder_num_heads"],
            **options,
        )
        inner = set(encoder.state_dict())
        state = {k.removeprefix("model."): v for k, v in self.tensors.items() if k.startswith("model.")}
        named = {f"encoder.{k}" if k in inner else k: v for k, v in state.items() if k not in FIXED}
        method.load_state_dict(named, strict=True)
        return method

    @property
    def batch(self) -> Batch:
        pixels = self.out("images")
        names = ("R", "G", "B") if pixels.shape[1] == 3 else tuple(f"B{i}" for i in range(1, pixels.shape[1] + 1))
        image = ImageBatch.of(pixels, bands=names, unit=NORMALISED)
        return Batch(images={"optical": image}, keys=("",) * len(pixels), seeds=torch.zeros(len(pixels)))

    @property
    def mask(self) -> TokenMask:
        return random_mask(self.out("noise"), self.golden["mask_ratio"])

    def loss(self, method: MAE) -> torch.Tensor:
        return method.losses(self.batch["optical"], self.mask, method.predict(self.batch, self.mask))["total"]


CASES = [Case(p) for p in cases("satmae") if p.with_suffix(".safetensors").is_file()]
if not CASES:
    pytest.skip(f"no golden tensors in {ROOT / 'satmae'}", allow_module_level=True)


@pytest.fixture(params=[pytest.param(c, id=case_id(c.path)) for c in CASES if not c.unsupported])
def case(request) -> Case:
    return request.param


@pytest.mark.parametrize("any_case", CASES, ids=[case_id(c.path) for c in CASES])
def test_every_variant_has_a_method(any_case):
    if any_case.unsupported:
        pytest.skip(any_case.unsupported)
    assert any_case.method().encoder.width == any_case.config["embed_dim"]


def test_tables_of_positions(case):
    side = case.config["img_size"] // case.config["patch_size"]
    for name, width in (("pos_embed", "embed_dim"), ("decoder_pos_embed", "decoder_embed_dim")):
        table = sincos_positions(case.config[width], (side, side))
        close(F.pad(table, (0, 0, 1, 0)), case.tensors[f"model.{name}"], atol=1e-6)


def test_mask_is_the_same(case):
    assert case.mask.restore.equal(case.out("ids_restore"))
    assert case.mask.hidden.equal(case.out("mask"))


def test_masked_encoder_with_its_class_token(case):
    features = case.method().encoder.forward_features(case.batch, case.mask.keep)
    latent = torch.cat([features.class_tokens[0][:, None], features.tokens], 1)
    close(latent, case.out("latent"))


def test_prediction_of_the_decoder(case):
    close(case.method().predict(case.batch, case.mask), case.out("pred"))


@pytest.mark.parametrize(("normalised", "suffix"), [(False, ""), (True, "_norm")])
def test_target(case, normalised, suffix):
    if f"out.target{suffix}" in case.tensors:
        close(case.method(norm_pixels=normalised).target(case.batch["optical"]), case.out(f"target{suffix}"))
    else:
        assert suffix  # the plain target is always there


@pytest.mark.parametrize(("normalised", "name"), [(False, "loss"), (True, "loss_normpix")])
def test_loss(case, normalised, name):
    close(case.loss(case.method(norm_pixels=normalised)), case.out(name).squeeze(), atol=0)


def test_gradients_of_every_parameter(case):
    expected = case.golden["grad_norms"]
    method = case.method(norm_pixels=False)
    case.loss(method).backward()
    norms = {n.removeprefix("encoder."): p.grad.norm().item() for n, p in method.named_parameters()}
    assert norms.keys() == expected.keys() - FIXED
    for name, norm in norms.items():
        assert norm == pytest.approx(expected[name], rel=1e-4, abs=1e-7), name
    for name in (n for n in case.tensors if n.startswith("out.grad.")):
        ours = dict(method.named_parameters())
        key = name.removeprefix("out.grad.")
        close(ours.get(f"encoder.{key}", ours.get(key)).grad, case.tensors[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("variant", ["vit_gap", "vit_cls"])
def test_features_and_logits_of_the_official_classifier(case, variant):
    if f"out.{variant}.features" not in case.tensors:
        pytest.skip(f"the case holds no {variant}")
    encoder = case.method().encoder.eval()
    extra = {k.removeprefix(f"{variant}."): v for k, v in case.tensors.items() if k.startswith(f"{variant}.")}
    if variant == "vit_gap":  # the mean of the last block, then a norm of its own
        seen = []
        encoder.norm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        encoder.forward_features(case.batch)
        mean = seen[0][:, 1:].mean(1)
        features = F.layer_norm(mean, mean.shape[1:], extra["fc_norm.weight"], extra["fc_norm.bias"], 1e-6)
    else:
        if "norm.weight" in extra:
            encoder.norm.load_state_dict({"weight": extra["norm.weight"], "bias": extra["norm.bias"]})
        features = encoder.forward_features(case.batch).class_tokens[0]
    close(features, case.out(f"{variant}.features"))
    close(F.linear(features, extra["head.weight"], extra["head.bias"]), case.out(f"{variant}.logits"))
