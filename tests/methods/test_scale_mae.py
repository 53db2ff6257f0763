"""What sets Scale-MAE apart: the ground area in the positions, two bands, views of any size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ecotone.encoders import ViT
from ecotone.errors import InputError
from ecotone.inputs import Identity, InputSpec, RoleSpec
from ecotone.methods import ScaleMAE
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch, ImageBatch
from ecotone.sensors import unit

SMALL = {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2, "head_width": 8, "head_layers": 1}


def vit(**options) -> ViT:
    role = RoleSpec(sensor="rgb", bands=("R", "G", "B"), unit="uint8", normaliser=Identity())
    options = {"patch": 8, "width": 32, "depth": 2, "heads": 2, "positions": "gsd"} | options
    return ViT(InputSpec(roles={"optical": role}), **options)


def batch(height=64, width=64, gsd=2.0, seed=0) -> Batch:
    pixels = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    image = ImageBatch.of(pixels, bands=("R", "G", "B"), unit=unit("uint8"), gsd=gsd)
    return Batch(images={"optical": image}, keys=("a", "b"), seeds=torch.arange(2))


def test_the_input_view_has_the_source_size_and_the_gsd_of_its_pixels():
    method = ScaleMAE(vit(), source_size=16, **SMALL)
    seen = []
    method.encoder.patch_embed.register_forward_pre_hook(lambda m, a: seen.append(a[0]))
    scales = []
    method.encoder.position_scale = lambda image: scales.append((image.size, image.gsd)) or image.gsd
    losses = method(batch(), SampleRandom(torch.arange(2)))
    assert torch.isfinite(losses["total"])
    assert method.input_size(64) == 16
    size, gsd = scales[0]
    assert size == (16, 16)
    torch.testing.assert_close(gsd, torch.full((2,), 8.0))  # 64 pixels of 2 m are 16 of 8 m


def test_a_smaller_source_still_rebuilds_a_target_averaged_from_the_true_one():
    big = ScaleMAE(vit(), source_size=16, **SMALL)
    raw = batch()
    target = big._image(big.encoder.spec.prepare(raw))
    expected = torch.nn.functional.avg_pool2d(raw["optical"].pixels[:, 0], 2)
    torch.testing.assert_close(target.pixels[:, 0], expected, atol=1e-6, rtol=0)


def test_bands_of_images_that_are_not_square_are_cut_at_one_frequency_on_both_axes():
    method = ScaleMAE(vit(), low_pass=4, **SMALL)
    wide = torch.rand(1, 3, 64, 128)
    _, high = method.targets(wide, (32, 64))
    coarse = torch.nn.functional.adaptive_avg_pool2d(wide, (4, 8))
    smooth = torch.nn.functional.interpolate(coarse, (64, 128), mode="bilinear", align_corners=False)
    torch.testing.assert_close(high, wide - smooth)


def test_a_released_model_sees_one_scale_in_evaluation_and_the_gsd_in_training():
    encoder = vit(evaluation_scale=1.0)
    assert not ViT.needs_gsd(encoder.config())
    near, far = batch(gsd=0.3)["optical"], batch(gsd=30.0)["optical"]
    assert not torch.equal(encoder.position_scale(near), encoder.position_scale(far))
    encoder.eval()
    assert torch.equal(encoder.position_scale(near), encoder.position_scale(far))
    torch.testing.assert_close(encoder(batch(gsd=0.3)).pooled, encoder(batch(gsd=30.0)).pooled)


@pytest.mark.parametrize("gsd", [None, 0.0, -1.0])
def test_a_gsd_that_is_missing_or_not_above_zero_is_an_error(gsd):
    with pytest.raises(InputError, match="needs a GSD above zero for every image"):
        ScaleMAE(vit(), **SMALL)(batch(gsd=gsd), SampleRandom(torch.arange(2)))


def test_one_wrong_gsd_in_a_batch_is_found():
    raw = batch()
    image = replace(raw["optical"], gsd=torch.tensor([2.0, float("nan")]))
    with pytest.raises(InputError, match="nan"):
        ScaleMAE(vit(), **SMALL)(raw.replace_images(optical=image), SampleRandom(torch.arange(2)))
