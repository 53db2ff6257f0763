"""SpectralGPT: masks over all groups, losses over what was observed, any number of groups, stages that carry over."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecotone.encoders import SpectralViT
from ecotone.inputs import NORMALISED, Identity, InputSpec, RoleSpec
from ecotone.methods import SpectralGPT
from ecotone.nn.masking import random_mask
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch, ImageBatch
from ecotone.sensors import sensor, unit

BANDS = tuple(b.name for b in sensor("sentinel2-l2a").bands)


def method(bands=12, image_size=16, group=3, pad="error", **options) -> SpectralGPT:
    torch.manual_seed(0)
    role = RoleSpec(sensor="sentinel2-l2a", bands=BANDS[:bands], unit="reflectance x 10000", normaliser=Identity())
    architecture = {"width": 16, "depth": 1, "heads": 2, "patch": 4}
    encoder = SpectralViT(
        InputSpec(roles={"optical": role}), image_size=image_size, group=group, pad=pad, **architecture
    )
    return SpectralGPT(encoder, **({"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2} | options))


def image(bands=12, size=16, valid=None) -> ImageBatch:
    pixels = torch.randn(2, bands, size, size, generator=torch.Generator().manual_seed(1))
    if valid is not None:
        pixels = pixels * valid[:, None, 0]  # as InputSpec.prepare leaves them
    return ImageBatch.of(pixels, bands=BANDS[:bands], unit=NORMALISED, valid=None if valid is None else valid[:, :1])


def mask_of(length, ratio=0.5):
    return random_mask(torch.rand(2, length, generator=torch.Generator().manual_seed(2)), ratio)


def batch(one: ImageBatch) -> Batch:
    return Batch(images={"optical": one}, keys=("", ""), seeds=torch.arange(2))


@settings(max_examples=20, deadline=None)
@given(groups=st.integers(1, 4), group=st.integers(1, 3), ratio=st.floats(0.3, 0.9), weight=st.floats(0.0, 2.0))
def test_losses_of_any_grouping_are_those_of_the_definition(groups, group, ratio, weight):
    made = method(groups * group, group=group, spectral_weight=weight)
    one, mask = image(groups * group), mask_of(groups * 16, ratio)
    prediction = torch.randn(2, groups * 16, group * 16)
    losses = made.losses(one, mask, prediction)
    truth = one.pixels[:, 0]
    rebuilt = made.image(prediction, one)
    hidden = made.image(mask.hidden[..., None].expand_as(prediction), one).bool()
    torch.testing.assert_close(losses["token"], (rebuilt - truth)[hidden].square().mean())
    sums = (rebuilt - truth).unflatten(1, (groups, group)).sum(1)
    torch.testing.assert_close(losses["spectral"], weight * sums.square().mean())
    torch.testing.assert_close(losses["total"], losses["token"] + losses["spectral"])


def test_a_perfect_prediction_costs_nothing():
    for normalised in (False, True):
        made = method(norm_pixels=normalised)
        losses = made.losses(image(), mask_of(64), made.target(image()))
        assert losses["total"].item() < 1e-9


def test_released_spectral_sums_of_normalised_tokens_cannot_be_met_together():
    made = method(norm_pixels=True, restore_pixels=False)
    losses = made.losses(image(), mask_of(64), made.target(image()))
    assert losses["token"].item() == 0
    assert losses["spectral"].item() > 0.1


def test_values_that_were_not_observed_do_not_count():
    valid = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    valid[:, :, :, 6:] = False  # splits a column of patches
    made, one, mask = method(), image(valid=valid), mask_of(64)
    prediction = torch.randn(2, 64, 48)
    wild = made.encoder.cut(torch.where(valid, made.image(prediction, one), 1e3))
    for name, loss in made.losses(one, mask, prediction).items():
        torch.testing.assert_close(made.losses(one, mask, wild)[name], loss)
    shift = made.encoder.cut(one.pixels[:, 0]) + 2.0  # an error of 2 in every value that counts
    losses = made.losses(one, mask, shift)
    torch.testing.assert_close(losses["token"], torch.tensor(4.0))
    torch.testing.assert_close(losses["spectral"], torch.tensor((4 * 2.0) ** 2))  # the sum over four groups


@pytest.mark.parametrize("pad", ["repeat", "zero"])
def test_bands_that_only_pad_do_not_count(pad):
    made, one, mask = method(10, pad=pad), image(10), mask_of(64)
    prediction = torch.randn(2, 64, 48)
    other = prediction.clone()
    other.view(2, 4, 16, 3, 16)[:, 3, :, 1:] += 100.0  # bands 11 and 12, which are not there
    for name, loss in made.losses(one, mask, prediction).items():
        torch.testing.assert_close(made.losses(one, mask, other)[name], loss)
    assert made.picture(batch_raw(10), SampleRandom(torch.arange(2))).panels["reconstruction"].shape == (2, 10, 16, 16)


def batch_raw(bands) -> Batch:
    one = ImageBatch.of(torch.rand(2, bands, 16, 16), bands=BANDS[:bands], unit=unit("reflectance x 10000"))
    return batch(one)


def test_the_mask_is_drawn_over_all_groups():
    made = method()
    hidden = made.mask(image(), SampleRandom(torch.arange(2))).hidden
    assert hidden.sum(1).tolist() == [58.0, 58.0]  # int(64 * 0.1) = 6 stay
    per_group = hidden.unflatten(1, (4, 16)).sum(2)
    assert len(set(per_group.flatten().tolist())) > 1
    tubes = hidden.unflatten(1, (4, 16)).sum(1)
    assert ((tubes > 0) & (tubes < 4)).any()


def test_a_later_stage_carries_all_positions_over():
    first, second = method(), method(image_size=24)
    state = second.fit_state(first.state_dict(), BANDS)
    second.load_state_dict(state, strict=True)
    one = image(size=24)
    mask = mask_of(4 * 36)
    torch.testing.assert_close(second.predict(batch(one), mask), first.predict(batch(one), mask))
    assert second.decoder_pos_embed_spatial.shape == (1, 36, 16)


def test_fewer_bands_keep_the_positions_of_their_groups():
    first, second = method(), method(9)
    second.load_state_dict(second.fit_state(first.state_dict(), BANDS), strict=True)
    torch.testing.assert_close(second.decoder_pos_embed_spectral, first.decoder_pos_embed_spectral[:, :3])


def test_a_class_token_takes_part_in_the_decoder_and_not_in_the_prediction():
    torch.manual_seed(0)
    encoder = SpectralViT(method().encoder.spec, width=16, depth=1, heads=2, patch=4, image_size=16, class_token=True)
    made = SpectralGPT(encoder, decoder_width=16, decoder_depth=1, decoder_heads=2)
    mask = mask_of(64)
    before = made.predict(batch(image()), mask)
    assert before.shape == (2, 64, 48)
    with torch.no_grad():
        made.decoder_cls_token.add_(1.0)
    assert not torch.allclose(made.predict(batch(image()), mask), before)
