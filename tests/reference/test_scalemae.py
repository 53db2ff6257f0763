"""Golden tensors of the official Scale-MAE code: positions, encoder, decoder, targets, losses, gradients."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from roots import case_id, cases, close
from safetensors.torch import load_file

from ecotone.encoders import ViT
from ecotone.inputs import NORMALISED, Identity, InputSpec, RoleSpec
from ecotone.methods import ScaleMAE
from ecotone.nn.masking import random_mask
from ecotone.nn.patches import patchify
from ecotone.nn.positions import sincos_positions
from ecotone.samples import Batch, ImageBatch
from ecotone.transforms import RandomResizedCrop, downsample, resample

CASES = [p for p in cases("scalemae") if "variants" in json.loads(p.read_text())]
UNUSED = {"pos_embed", "decoder_pos_embed", "mask_token_decoder"}


def batch_of(pixels: torch.Tensor, gsd) -> Batch:
    image = ImageBatch.of(pixels, bands=("R", "G", "B"), unit=NORMALISED, gsd=gsd)
    return Batch(images={"optical": image}, keys=("",) * len(pixels), seeds=torch.zeros(len(pixels)))


def build(config: dict, state: dict, **options) -> ScaleMAE:
    spec = InputSpec(
        roles={"optical": RoleSpec(sensor="rgb", bands=("R", "G", "B"), unit="uint8", normaliser=Identity())}
    )
    encoder = ViT(
        spec,
        patch=config["patch_size"],
        width=config["embed_dim"],
        depth=config["depth"],
        heads=config["num_heads"],
        positions="gsd",
    )
    method = ScaleMAE(
        encoder,
        decoder_width=config["decoder_embed_dim"],
        decoder_depth=config["decoder_depth"],
        decoder_heads=config["decoder_num_heads"],
        head_width=config["fcn_dim"],
        head_layers=config["fcn_layers"],
        shared_head=not config["independent_fcn_head"],
        target_ratio=config["target_size"][0] // config["img_size"],
        sum_channels=True,
        filter="bilinear-aligned",
        **options,
    )
    ours = set(encoder.state_dict())
    named = {f"encoder.{k}" if k in ours else k: v for k, v in state.items() if k not in UNUSED}
    method.load_state_dict(named, strict=True)
    return method


class Case:
    """One golden.json with the files beside it."""

    def __init__(self, path: Path):
        self.folder, self.golden = path.parent, json.loads(path.read_text())
        self.config = self.golden["config"]

    def load(self, stem: str):
        return load_file(self.folder / f"{stem}.safetensors")

    @property
    def inputs(self):
        return self.load("inputs")

    def method(self, variant: str) -> ScaleMAE:
        args = self.golden["variants"][variant]["model_args"]
        bands = args.get("band_config", self.config["band_config"])
        state = self.load(Path(self.golden["variants"][variant]["state_file"]).stem)
        return build(
            self.config,
            state,
            progressive=args.get("progressive", False),
            low_pass=bands[0],
            low_target_cells=224 if bands[1] == 224 else None,  # the official code has this one size written out
            high_loss="l1" if args.get("use_l1_loss") else "l2",
            high_weight=args.get("l1_loss_weight", self.config["l1_loss_weight"]) if args.get("use_l1_loss") else 1.0,
        )

    def run(self, method: ScaleMAE, scale: torch.Tensor | None = None):
        inputs = self.inputs
        mask = random_mask(inputs["mask_noise"], self.golden["mask_ratio"])
        source = batch_of(inputs["imgs"], inputs["input_res"] if scale is None else scale)
        target = batch_of(inputs["targets"], inputs["target_res"])["optical"]
        low, high = method.predict(source, source["optical"], mask)
        targets = method.targets(target.pixels[:, 0], low.shape[-2:])
        losses = method.losses(targets, (low, high), method._weights(mask, target))
        return mask, low, high, targets, losses


def cases_with(*stems: str):
    """The cases whose files are there."""
    found = [p for p in CASES if all((p.parent / f"{s}.safetensors").exists() for s in stems)]
    return pytest.mark.parametrize("case", [pytest.param(Case(p), id=case_id(p)) for p in found])


@cases_with("pos_embed")
def test_position_tables(case):
    tables = case.load("pos_embed")
    res = tables["res"]
    checked = 0
    for name, table in tables.items():
        if name == "res" or name.startswith("mae_static") or "row_index" in name or name.endswith("rows"):
            continue
        width, grid = (int(part.lstrip("Dgrid")) for part in name.split(".")[:2])
        ours = sincos_positions(width, (grid, grid), res)
        close(ours, table[:, 1:], atol=5e-5)
        checked += 1
    static = tables["mae_static.D64.grid4"].squeeze()
    close(sincos_positions(64, (4, 4))[0], static[-16:], atol=1e-6)
    assert checked


@cases_with("pos_embed")
def test_position_rows_of_large_tables(case):
    tables = case.load("pos_embed")
    names = [n for n in tables if n.endswith(".rows")]
    for name in names:
        width, grid = (int(part.lstrip("Dgrid")) for part in name.split(".")[:2])
        index = tables.get(name.replace("rows", "row_index"), tables.get("row_index"))
        ours = sincos_positions(width, (grid, grid), tables["res"])
        full = F.pad(ours, (0, 0, 1, 0))
        close(full[:, index.long()], tables[name], atol=5e-5)


@cases_with("encoder_eval", "state_default")
def test_encoder_at_every_size_and_scale(case):
    golden = case.load("encoder_eval")
    encoder = case.method("default_l2").encoder
    for size in sorted({n.split(".")[0] for n in golden if n.startswith("size")}):
        images = golden[f"{size}.imgs"]
        cells = {n.split(".res")[1].rsplit(".", 1)[0] for n in golden if n.startswith(f"{size}.res")}
        for res in sorted(cells):
            features = encoder.forward_features(batch_of(images, float(res)))
            close(features.class_tokens[0], golden[f"{size}.res{res}.cls"])
            close(features.tokens.mean(1), golden[f"{size}.res{res}.mean_normed"])
            if f"{size}.res{res}.tokens" in golden:
                close(features.tokens, golden[f"{size}.res{res}.tokens"])


@cases_with("encoder_eval", "state_default")
def test_encoder_with_one_scale_per_image(case):
    golden = case.load("encoder_eval")
    encoder = case.method("default_l2").encoder
    features = encoder.forward_features(batch_of(golden["size64.imgs"], golden["mixedres.input_res"]))
    close(features.class_tokens[0], golden["size64.mixedres.cls"])


@cases_with("encoder_eval", "state_default")
def test_pooled_tokens_without_the_final_norm(case):
    golden = case.load("encoder_eval")
    encoder = case.method("default_l2").encoder
    seen = []
    encoder.norm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    encoder.forward_features(batch_of(golden["size64.imgs"], 1.0))
    pooled = F.layer_norm(
        seen[0][:, 1:].mean(1), (encoder.width,), golden["fc_norm.weight"], golden["fc_norm.bias"], 1e-6
    )
    name = next(n for n in golden if n.startswith("size64.res1") and n.endswith("vit_gap_fcnorm") and "res10" not in n)
    close(pooled, golden[name])


@cases_with("inputs")
def test_views_from_one_crop(case):
    inputs = case.inputs
    box = inputs["src_box"].double()
    left, top = box[:, 0, 0], box[:, 0, 1]
    side = box[:, 1, 0] - box[:, 0, 0] + 1
    boxes = torch.stack([left, top, side, side], 1)
    size = case.config["target_size"][0]
    targets = resample(inputs["raw"], boxes, (size, size), "bicubic-aligned")
    close(targets, inputs["targets"], atol=1e-4)
    nominal = batch_of(inputs["raw"], 2.5)["optical"]
    crop = RandomResizedCrop(size=size, filter="bicubic-aligned", inclusive_corners=True).view(nominal, boxes)
    close(crop.gsd, inputs["target_res"])
    close(crop.gsd, 2.5 * inputs["ratios"])
    close(crop.pixels[:, 0], inputs["targets"], atol=1e-4)
    whole = torch.tensor([0.0, 0.0, size, size]).expand(len(targets), 4)
    small = case.config["img_size"]
    close(resample(inputs["targets"], whole, (small, small), "bilinear-aligned"), inputs["imgs"], atol=1e-4)
    source = downsample(crop, size // small, "bilinear-aligned")
    close(source.pixels[:, 0], inputs["imgs"], atol=1e-4)
    close(source.gsd, inputs["input_res"])


@cases_with("outputs_default_l2", "state_default", "inputs")
def test_masked_encoder_and_decoder(case):
    golden = case.load("outputs_default_l2")
    method = case.method("default_l2")
    seen: dict[str, torch.Tensor] = {}
    for i, block in enumerate(method.encoder.blocks):
        block.register_forward_hook(lambda m, a, out, i=i: seen.update({f"enc.block{i}_out": out}))
    for i, block in enumerate(method.decoder_blocks):
        block.register_forward_hook(lambda m, a, out, i=i: seen.update({f"dec.block{i}_out": out}))
    method.encoder.blocks[0].register_forward_pre_hook(lambda m, a: seen.update({"enc.block0_in": a[0]}))
    method.decoder_blocks[0].register_forward_pre_hook(lambda m, a: seen.update({"dec.block0_in": a[0]}))
    method.encoder.norm.register_forward_hook(lambda m, a, out: seen.update({"enc.latent": out}))
    method.decoder_norm.register_forward_hook(lambda m, a, out: seen.update({"dec.norm": out}))
    method.fpn.register_forward_hook(lambda m, a, out: seen.update({"dec.fpn_low": out[0], "dec.fpn_high": out[1]}))
    mask, low, high, targets, losses = case.run(method)
    assert torch.equal(mask.restore, golden["ids_restore"])
    assert torch.equal(mask.hidden, golden["mask"])
    for name, tensor in seen.items():
        close(tensor, golden[name])
    close(low, golden["pred_low"])
    close(high, golden["pred_high"])
    close(targets[0], golden["target_low"])
    close(targets[1], golden["target_high"])
    for name in ("low", "high"):
        close(losses[name], golden[f"loss_{name}"].squeeze(), atol=0)
    close(losses["total"], golden["loss"].squeeze(), atol=0)


@cases_with("outputs_default_l2", "state_default", "inputs")
def test_visualised_sum_of_bands(case):
    golden = case.load("outputs_default_l2")
    method = case.method("default_l2")
    _, low, high, _, _ = case.run(method)
    cells = method.low_pass
    coarse = F.interpolate(F.interpolate(low, (cells, cells), mode="area"), high.shape[-2:], mode="bilinear")
    close(patchify(high + coarse, case.config["patch_size"]), golden["pred_all_patchified"])


@cases_with("outputs_default_l2", "state_default", "inputs")
def test_gradients_of_the_default_loss(case):
    golden = case.load("outputs_default_l2")
    method = case.method("default_l2")
    case.run(method)[-1]["total"].backward()
    gradients = {n.removeprefix("encoder."): p.grad for n, p in method.named_parameters()}
    kept = [n.removeprefix("grad.") for n in golden if n.startswith("grad.")]
    assert kept
    for name in kept:
        close(gradients[name], golden[f"grad.{name}"], atol=1e-5, rtol=1e-4)


def variants() -> list:
    return [
        pytest.param(Case(path), name, id=f"{case_id(path)}/{name}")
        for path in CASES
        for name, variant in json.loads(path.read_text())["variants"].items()
        if all((path.parent / f).exists() for f in (variant["state_file"], "inputs.safetensors"))
    ]


@pytest.mark.parametrize(("case", "name"), variants())
def test_losses_and_gradient_norms_of_every_variant(case, name):
    expected = case.golden["variants"][name]
    method = case.method(name)
    scale = torch.ones(case.golden["B"]) if expected["model_args"].get("absolute_scale") else None
    losses = case.run(method, scale)[-1]
    for ours, theirs in (("total", "loss"), ("low", "loss_low"), ("high", "loss_high")):
        assert math.isclose(losses[ours].item(), expected[theirs], rel_tol=1e-5)
    losses["total"].backward()
    norms = {n.removeprefix("encoder."): p.grad.norm().item() for n, p in method.named_parameters()}
    for key, norm in expected["grad_norms"].items():
        assert (norm is None) == (key in UNUSED)
        if norm is not None:
            assert math.isclose(norms[key], norm, rel_tol=1e-4, abs_tol=1e-7)


@cases_with("outputs_progressive_l1", "state_progressive", "inputs")
def test_progressive_neck_with_absolute_error(case):
    golden = case.load("outputs_progressive_l1")
    method = case.method("progressive_l1")
    _, low, high, _, losses = case.run(method)
    close(low, golden["pred_low"])
    close(high, golden["pred_high"])
    close(losses["total"], golden["loss"].squeeze(), atol=0)
