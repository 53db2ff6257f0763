"""Golden tensors of the official SpectralGPT code: tokens, positions, masks, networks, losses, gradients, steps."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from roots import ROOT, case_id, cases, close
from safetensors import safe_open
from safetensors.torch import load_file

from ecotone.encoders import SpectralViT
from ecotone.inputs import NORMALISED, Identity, InputSpec, RoleSpec
from ecotone.methods import SpectralGPT
from ecotone.nn.masking import TokenMask, random_mask
from ecotone.nn.positions import separable_positions
from ecotone.samples import Batch, ImageBatch
from ecotone.weights.official.spectral_gpt import convert

BANDS = tuple(f"band{i}" for i in range(64))
FOLDER = "spectralgpt"


def spec(bands: int) -> InputSpec:
    role = RoleSpec(sensor="sentinel2-l2a", bands=BANDS[:bands], unit="reflectance x 10000", normaliser=Identity())
    return InputSpec(roles={"optical": role})


def build(config: dict, **options) -> SpectralGPT:
    """Our method in the architecture of an official configuration; ``options`` of encoder and method."""
    own = {"final_norm", "drop_first_token"}
    encoder = SpectralViT(
        spec(config["num_frames"]),
        patch=config["patch_size"],
        group=config["t_patch_size"],
        image_size=config["img_size"],
        width=config["embed_dim"],
        depth=config["depth"],
        heads=config["num_heads"],
        mlp_ratio=config.get("mlp_ratio", 4.0),
        class_token=config.get("cls_embed", False),
        **{k: v for k, v in options.items() if k in own},
    )
    return SpectralGPT(
        encoder,
        decoder_width=config["decoder_embed_dim"],
        decoder_depth=config["decoder_depth"],
        decoder_heads=config["decoder_num_heads"],
        **{k: v for k, v in options.items() if k not in own},
    )


def official_parts(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Our parameters or gradients under the official names."""
    named = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("encoder.").replace("pos_embed_spectral", "pos_embed_temporal")
        if ".attn.qkv." in name:
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                named[name.replace("qkv", letter)] = part
        else:
            named[name] = tensor.unsqueeze(1) if name == "patch_embed.proj.weight" else tensor
    return named


class Case:
    """One ``<case>.json`` with the tensors beside it."""

    def __init__(self, path: Path):
        self.path, self.golden = path, json.loads(path.read_text())
        self.config = self.golden["config"]

    @cached_property
    def tensors(self) -> dict[str, torch.Tensor]:
        return load_file(self.path.with_suffix(".safetensors"))

    def out(self, name: str) -> torch.Tensor:
        return self.tensors[f"out.{name}"]

    def method(self, **options) -> SpectralGPT:
        method = build(self.config, mask_ratio=self.golden["mask_ratio"], **options)
        official = {k.removeprefix("model."): v for k, v in self.tensors.items() if k.startswith("model.")}
        ours = convert(official)
        encoder = {f"encoder.{name}": tensor for name, tensor in ours.encoder.items()}
        method.load_state_dict({**encoder, **ours.decoder}, strict=True)
        assert not ours.unexpected
        return method

    @property
    def batch(self) -> Batch:
        pixels = self.out("images")
        image = ImageBatch.of(pixels, bands=BANDS[: pixels.shape[1]], unit=NORMALISED)
        return Batch(images={"optical": image}, keys=("",) * len(pixels), seeds=torch.zeros(len(pixels)))

    @property
    def image(self) -> ImageBatch:
        return self.batch["optical"]

    @property
    def mask(self) -> TokenMask:
        return random_mask(self.out("noise"), self.golden["mask_ratio"])

    def losses(self, method: SpectralGPT) -> dict[str, torch.Tensor]:
        return method.losses(self.image, self.mask, method.predict(self.batch, self.mask))

    def downstream(self) -> SpectralViT:
        """The encoder as the official classifiers and dense heads use it."""
        no_class = not self.config.get("cls_embed", False)
        return self.method(final_norm="pooled", drop_first_token=no_class).encoder.eval()


CASES = [Case(p) for p in cases(FOLDER) if p.with_suffix(".safetensors").is_file()]
if not CASES:
    pytest.skip(f"no golden tensors in {ROOT / FOLDER}", allow_module_level=True)


def with_tensors(*names: str):
    """The cases that hold these tensors; the header alone is read."""
    found = []
    for case in CASES:
        with safe_open(case.path.with_suffix(".safetensors"), "pt") as file:
            if {f"out.{n}" for n in names} <= set(file.keys()):
                found.append(pytest.param(case, id=case_id(case.path)))
    return pytest.mark.parametrize("case", found)


@with_tensors("patch_tokens")
def test_tokens_before_positions(case):
    encoder = case.method().encoder
    tokens = encoder.patch_embed(encoder.cut(case.out("images")))
    close(tokens, case.out("patch_tokens").flatten(1, 2))


@with_tensors("pos_embed_full")
def test_table_of_positions(case):
    encoder = case.method().encoder
    close(separable_positions(encoder.pos_embed_spectral, encoder.pos_embed_spatial), case.out("pos_embed_full"))


@with_tensors("noise", "ids_keep", "ids_restore", "mask")
def test_mask_is_the_same(case):
    assert case.mask.keep.equal(case.out("ids_keep"))
    assert case.mask.restore.equal(case.out("ids_restore"))
    assert case.mask.hidden.equal(case.out("mask"))


@with_tensors("images", "noise", "latent_masked")
def test_masked_encoder(case):
    close(case.method().encoder.forward_features(case.batch, case.mask.keep).tokens, case.out("latent_masked"))


@with_tensors("images", "noise", "pred")
def test_prediction_of_the_decoder(case):
    method = case.method()
    prediction = method.predict(case.batch, case.mask)
    close(prediction, case.out("pred"))
    for name, ours in (
        ("pred_image", method.image(prediction, case.image)),
        ("pred_spectral_sum", method.spectral_sum(prediction)),
    ):
        if f"out.{name}" in case.tensors:
            close(ours, case.out(name))


@with_tensors("images", "target", "target_spectral_sum")
def test_targets(case):
    method = case.method()
    close(method.target(case.image), case.out("target"), atol=0, rtol=0)
    close(method.spectral_sum(method.target(case.image)), case.out("target_spectral_sum"))


@with_tensors("images", "target_norm")
def test_normalised_targets(case):
    close(case.method(norm_pixels=True).target(case.image), case.out("target_norm"))


def check_losses(case: Case, method: SpectralGPT, suffix: str = "") -> None:
    for name, loss in case.losses(method).items():
        close(loss, case.out(f"loss_{name}{suffix}").squeeze(), atol=0)


@with_tensors("images", "noise", "loss_token", "loss_spectral", "loss_total")
def test_losses(case):
    check_losses(case, case.method())


@with_tensors("images", "noise", "loss_token_normpix", "loss_spectral_normpix", "loss_total_normpix")
def test_losses_of_normalised_tokens(case):
    check_losses(case, case.method(norm_pixels=True, restore_pixels=False), "_normpix")
    ours = case.losses(case.method(norm_pixels=True))
    close(ours["token"], case.out("loss_token_normpix").squeeze(), atol=0)
    assert not torch.isclose(ours["spectral"], case.out("loss_spectral_normpix"), rtol=1e-2)  # predictions restored


@with_tensors("images", "noise")
def test_gradients_of_every_parameter(case):
    method = case.method()
    case.losses(method)["total"].backward()
    ours = official_parts({n: p.grad for n, p in method.named_parameters()})
    expected = case.golden["grad_norms"]
    assert ours.keys() == expected.keys()
    largest = max(expected.values())
    for name, norm in expected.items():  # the gradient of a key's bias is zero but for rounding
        assert ours[name].norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-7 * largest), name
    stored = [n.removeprefix("out.grad.") for n in case.tensors if n.startswith("out.grad.")]
    for name in stored:
        close(ours[name], case.out(f"grad.{name}"), atol=1e-6, rtol=1e-4)


@with_tensors("images", "vit.pooled", "vit.dense_concat")
def test_features_of_the_released_use(case):
    encoder = case.downstream()
    depth = case.config["depth"]
    features = encoder.forward_intermediates(case.batch, range(depth))
    close(encoder.forward_features(case.batch).pooled, case.out("vit.pooled"))
    close(features.maps[-1], case.out("vit.dense_concat"))
    for i, block in enumerate(features.maps):
        if f"out.vit.block{i}" in case.tensors:
            tokens = block.unflatten(1, (encoder.groups, -1)).permute(0, 1, 3, 4, 2).flatten(1, 3)
            close(tokens, case.out(f"vit.block{i}")[:, -tokens.shape[1] :])
            for token in features.class_tokens[i : i + 1]:
                close(token, case.out(f"vit.block{i}")[:, 0])


def logits(case: Case, encoder: SpectralViT) -> torch.Tensor:
    pooled = encoder.forward_features(case.batch).pooled
    return F.linear(pooled, case.tensors["vit.head.weight"], case.tensors["vit.head.bias"])


@with_tensors("images", "vit.logits")
def test_logits_of_the_official_classifier(case):
    close(logits(case, case.downstream()), case.out("vit.logits"))


@with_tensors("images", "vit_nopos.logits")
def test_logits_of_the_official_fine_tuning_that_loses_the_positions(case):
    encoder = case.downstream()
    with torch.no_grad():
        encoder.pos_embed_spatial.zero_()
        encoder.pos_embed_spectral.zero_()
    close(logits(case, encoder), case.out("vit_nopos.logits"))


@with_tensors("images", "vit.pooled")
def test_our_default_keeps_the_first_token(case):
    ours = case.method().encoder.forward_features(case.batch)
    close(ours.pooled, ours.tokens.mean(1))
    assert not torch.allclose(ours.pooled, case.out("vit.pooled"), atol=1e-3)


@with_tensors("images", "noise", "train_losses")
def test_five_steps_of_training(case):
    method, train = case.method(), case.golden["train"]
    decay, keep = [], []
    for name, parameter in method.named_parameters():
        (keep if parameter.ndim == 1 or name.endswith(".bias") else decay).append(parameter)
    groups = [{"params": decay, "weight_decay": train["wd"]}, {"params": keep, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=train["lr"], betas=tuple(train["betas"]))
    found = []
    for _ in range(train["steps"]):
        loss = case.losses(method)["total"]
        found.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert found == pytest.approx(train["losses"], rel=1e-5)
    assert found == pytest.approx(case.out("train_losses").tolist(), rel=1e-5)
    for name, parameter in (
        ("decoder_pred.bias", method.decoder_pred.bias),
        ("pos_embed", method.encoder.pos_embed_spectral),
    ):
        if f"out.train_final.{name}" in case.tensors:
            close(parameter, case.out(f"train_final.{name}"))


# Parameters of the whole method and of its encoder: image size, size, group of bands.
COUNTS = {
    ("base", 96, 3): (98_496_960, 85_317_888),
    ("base", 128, 3): (98_640_320, 85_403_904),
    ("base", 128, 2): (98_560_896, 85_356_288),
    ("large", 96, 3): (315_970_752, 302_660_608),
    ("large", 128, 3): (316_142_784, 302_775_296),
    ("huge", 96, 3): (643_558_336, 630_117_120),
    ("huge", 128, 3): (643_759_040, 630_260_480),
}


def published(size: str, image_size: int, group: int) -> SpectralGPT:
    """A published architecture, without memory for its weights."""
    with torch.device("meta"):
        return SpectralGPT(SpectralViT(spec(12), group=group, image_size=image_size, **SpectralViT.sizes[size]))


@pytest.mark.parametrize("architecture", COUNTS, ids=lambda a: f"{a[0]}-{a[1]}px-{12 // a[2]}groups")
def test_published_sizes_have_the_published_number_of_parameters(architecture):
    method = published(*architecture)
    counts = tuple(sum(p.numel() for p in module.parameters()) for module in (method, method.encoder))
    assert counts == COUNTS[architecture]


KEYS = {
    f"{case_id(path)}/{name}": model
    for path in cases(FOLDER)
    if path.stem.startswith("keys")
    for name, model in json.loads(path.read_text()).items()
    if isinstance(model, dict) and name.startswith("mae_vit_")
}


@pytest.mark.parametrize("name", KEYS)
def test_every_key_of_the_official_checkpoints_has_its_place_and_shape(name):
    expected = {key: tuple(shape) for key, shape in KEYS[name]["keys"].items()}
    group = expected["patch_embed.proj.weight"][2]
    cells = expected["pos_embed_spatial"][1]
    size = next(s for s in SpectralViT.sizes if f"_{s}_" in name)
    method = published(size, int(cells**0.5) * expected["patch_embed.proj.weight"][3], group)
    assert {key: tuple(t.shape) for key, t in official_parts(method.state_dict()).items()} == expected
    assert sum(p.numel() for p in method.parameters()) == KEYS[name]["params_total"]
