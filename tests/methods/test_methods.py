"""What every method owes: finite losses, gradients everywhere, independence of the batch, pictures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ecotone.encoders import build_encoder
from ecotone.errors import InputError, RecipeError
from ecotone.inputs import InputSpec, RoleSpec, ZScore
from ecotone.methods import build_method, method_kinds
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch, ImageBatch
from ecotone.sensors import unit

OPTIONS = {
    "mae": {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2},
    "contrastive-mae": {"size": 32, "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2},
    "scale-mae": {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2, "head_width": 8, "head_layers": 1},
    "spectral-gpt": {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2},
    "mp-mae": {"decoder_width": 16},
}
VIT = ("vit", {"width": 32, "depth": 2, "heads": 2})
ENCODERS = {
    "scale-mae": ("vit", VIT[1] | {"positions": "gsd"}),
    "spectral-gpt": ("spectral-vit", VIT[1] | {"group": 1, "image_size": 64}),
    "mp-mae": ("convnext", {"dims": [8, 16, 16, 32], "depths": [1, 1, 1, 1]}),
}


def make(kind, patch=8, **options):
    torch.manual_seed(0)
    normaliser = ZScore(mean=(128.0,) * 3, std=(60.0,) * 3)
    role = RoleSpec(sensor="rgb", bands=("R", "G", "B"), unit="uint8", normaliser=normaliser)
    encoder_kind, config = ENCODERS.get(kind, VIT)
    encoder = build_encoder(encoder_kind, InputSpec(roles={"optical": role}), None, config | {"patch": patch})
    return build_method(kind, encoder, OPTIONS[kind] | options)


def raw(n=3, height=64, width=64, valid=None) -> Batch:
    pixels = torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(1)) * 255
    image = ImageBatch.of(pixels, bands=("R", "G", "B"), unit=unit("uint8"), gsd=2.0, valid=valid)
    return Batch(images={"optical": image}, keys=("",) * n, seeds=torch.arange(n) + 7)


def loss(method, batch) -> torch.Tensor:
    return method(batch, SampleRandom(batch.seeds))["total"]


def test_every_method_is_tested():
    assert set(method_kinds()) == set(OPTIONS)


@pytest.mark.parametrize("kind", OPTIONS)
class TestEveryMethod:
    def test_gradients_reach_every_parameter(self, kind):
        method = make(kind)
        total = loss(method, raw())
        assert torch.isfinite(total)
        total.backward()
        without = [n for n, p in method.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert without == []

    def test_a_sample_is_cropped_and_masked_alike_in_every_batch(self, kind):
        method = make(kind).eval()
        batch = raw()
        name = "pixels" if kind == "contrastive-mae" else "total"  # a contrast does depend on the others
        whole = method(batch, SampleRandom(batch.seeds))[name]
        alone = []
        for i in range(3):
            one = replace(batch.first(1), images=_one(batch, i), seeds=batch.seeds[i : i + 1])
            alone.append(method(one, SampleRandom(one.seeds))[name])
        torch.testing.assert_close(torch.stack(alone).mean(), whole, rtol=1e-5, atol=1e-6)

    def test_pictures_have_the_size_of_the_image(self, kind):
        panels = make(kind).picture(raw(), SampleRandom(raw().seeds)).panels
        assert panels["truth"].shape == (3, 3, 64, 64)
        assert all(torch.isfinite(p).all() for p in panels.values())

    def test_its_config_builds_it_again(self, kind):
        method = make(kind)
        twin = build_method(kind, method.encoder, method.config())
        twin.load_state_dict(method.state_dict(), strict=True)
        torch.testing.assert_close(loss(twin, raw()), loss(method, raw()))

    def test_images_need_not_be_square(self, kind):
        if kind == "contrastive-mae":  # its crops are square by themselves
            assert make(kind).input_size(64) == 32
            return
        assert torch.isfinite(loss(make(kind), raw(height=32, width=64)))

    def test_pixels_without_observation_do_not_count(self, kind):
        valid = torch.ones(3, 1, 64, 64, dtype=torch.bool)
        valid[:, :, :, 32:] = False
        batch = raw(valid=valid)
        wild = batch["optical"].pixels.clone()
        wild[..., 32:] = 1e4
        changed = batch.replace_images(optical=replace(batch["optical"], pixels=wild))
        options = {} if kind == "scale-mae" else {"norm_pixels": False}
        method = make(kind, **options)
        torch.testing.assert_close(loss(method, changed), loss(method, batch))

    def test_a_size_that_does_not_divide_is_refused(self, kind):
        if kind == "contrastive-mae":
            with pytest.raises(InputError, match="30 x 30"):
                loss(make(kind, size=30), raw())
            return
        with pytest.raises(InputError, match="60 x 64"):
            loss(make(kind), raw(height=60))

    def test_an_unknown_option_is_refused(self, kind):
        with pytest.raises(RecipeError, match="mask_ration"):
            make(kind, mask_ration=0.5)


def _one(batch, i):
    image = batch["optical"]
    fields = {k: getattr(image, k)[i : i + 1] for k in ("pixels", "gsd", "effective_gsd", "present")}
    return {"optical": replace(image, **fields)}


@pytest.mark.parametrize(("patch", "ratio", "side"), [(14, 2, 56), (16, 2, 64), (8, 4, 64), (4, 1, 16)])
def test_scale_mae_takes_any_patch_and_ratio(patch, ratio, side):
    method = make("scale-mae", patch=patch, target_ratio=ratio)
    assert torch.isfinite(loss(method, raw(height=side, width=side)))
    low, high = method.picture(raw(height=side, width=side), SampleRandom(raw().seeds)).panels.values().__iter__(), None
    assert high is None and next(low).shape[-1] == side // ratio


def test_the_low_band_of_the_paper_is_low_passed():
    target = torch.rand(2, 3, 64, 64)
    plain = make("scale-mae").targets(target, (32, 32))[0]
    smooth = make("scale-mae", low_target="band", low_target_cells=4).targets(target, (32, 32))[0]
    assert smooth.var() < 0.3 * plain.var()
    torch.testing.assert_close(smooth.mean(), plain.mean(), atol=0.02, rtol=0)


def test_normalised_pixels_have_unit_variance_in_every_patch():
    method = make("mae")
    target = method.target(method.encoder.spec.prepare(raw())["optical"])
    torch.testing.assert_close(target.var(-1), torch.ones(target.shape[:2]), atol=1e-3, rtol=0)
