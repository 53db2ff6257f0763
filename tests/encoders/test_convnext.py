"""The ConvNeXt: visible patches only, features that depend on one image, any size, stems and layers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecotone.encoders import ConvNeXt, Readout, build_encoder
from ecotone.errors import InputError, RecipeError
from ecotone.inputs import NORMALISED, InputSpec, RoleSpec, ZScore
from ecotone.samples import Batch, ImageBatch
from ecotone.sensors import unit

SMALL = {"dims": (4, 6, 8, 10), "depths": (1, 1, 2, 1)}


def spec(bands=("R", "G", "B")) -> InputSpec:
    normaliser = ZScore(mean=(120.0,) * len(bands), std=(50.0,) * len(bands))
    return InputSpec(roles={"optical": RoleSpec(sensor="rgb", bands=bands, unit="uint8", normaliser=normaliser)})


def convnext(readout=None, **options) -> ConvNeXt:
    torch.manual_seed(0)
    encoder = build_encoder("convnext", spec(), readout, {**SMALL, **options})
    for p in encoder.parameters():  # response norms and biases are zero at first
        torch.nn.init.normal_(p, std=0.7)
    return encoder.eval()


def raw(n=2, height=16, width=24, seed=0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(n, 3, height, width, generator=generator) * 255
    pixels = pixels * torch.rand(n, 3, 1, 1, generator=generator)  # images differ in colour and contrast
    image = ImageBatch.of(pixels, bands=("R", "G", "B"), unit=unit("uint8"), gsd=10.0)
    return Batch(images={"optical": image}, keys=("",) * n, seeds=torch.arange(n))


def prepared(encoder: ConvNeXt, batch: Batch) -> Batch:
    return encoder.spec.prepare(batch)


@pytest.mark.parametrize(("patch", "stem"), [(8, "initial-conv"), (16, "initial-conv"), (32, "patch"), (8, "patch")])
def test_maps_and_strides(patch, stem):
    encoder = convnext(patch=patch, stem=stem)
    features = encoder(raw(height=2 * patch, width=3 * patch))
    assert [tuple(m.shape) for m in features.maps] == [(2, 10, 2, 3)]  # the readout's layers
    everything = encoder.forward_features(prepared(encoder, raw(height=2 * patch, width=3 * patch)))
    k = patch // 8
    assert everything.strides == [k, 2 * k, 4 * k, 8 * k]
    for m, dim, stride in zip(everything.maps, SMALL["dims"], everything.strides, strict=True):
        assert m.shape == (2, dim, 2 * patch // stride, 3 * patch // stride)
    torch.testing.assert_close(everything.pooled, features.pooled)
    torch.testing.assert_close(everything.maps[-1].flatten(2).transpose(1, 2), everything.tokens)


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(6)), st.integers(1, 6))
def test_visible_tokens_come_in_the_order_of_keep(order, count):
    encoder = convnext()
    batch = prepared(encoder, raw())
    keep = torch.tensor([order[:count], sorted(order[:count])])
    features = encoder.forward_features(batch, keep)
    at = keep[..., None].expand(-1, -1, 10)
    torch.testing.assert_close(features.maps[0].flatten(2).transpose(1, 2).gather(1, at), features.tokens)
    torch.testing.assert_close(features.tokens.mean(1), features.pooled)
    hidden = torch.ones(2, 6).scatter(1, keep, 0.0).bool()
    assert (features.maps[0].flatten(2).transpose(1, 2)[hidden] == 0).all()


def test_hidden_patches_do_not_matter():
    encoder = convnext()
    batch, keep = prepared(encoder, raw()), torch.tensor([[0, 4], [5, 2]])
    pixels = batch["optical"].pixels.clone()
    pixels[0, ..., 8:16, :8] = float("nan")  # patch 3
    changed = batch.replace_images(optical=replace(batch["optical"], pixels=pixels))
    torch.testing.assert_close(
        encoder.forward_features(changed, keep).tokens, encoder.forward_features(batch, keep).tokens
    )


def test_all_patches_visible_is_no_mask():
    for options in ({}, {"grn_pooling": "batch"}, {"patch": 16}):
        encoder = convnext(**options)
        batch = prepared(encoder, raw(height=2 * encoder.patch, width=3 * encoder.patch))
        masked = encoder.forward_features(batch, torch.arange(6).flip(0).expand(2, -1))
        torch.testing.assert_close(masked.maps[0], encoder.forward_features(batch).maps[-1])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 3), st.booleans(), st.integers(0, 50))
def test_features_of_an_image_do_not_depend_on_its_batch(place, masked, seed):
    encoder = convnext()
    batch = prepared(encoder, raw(n=4, seed=seed))
    keep = torch.rand(4, 6).argsort(1)[:, :3] if masked else None
    alone = encoder.forward_features(batch.part(place, place + 1), None if keep is None else keep[place : place + 1])
    together = encoder.forward_features(batch, keep)
    torch.testing.assert_close(alone.tokens[0], together.tokens[place], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(alone.pooled[0], together.pooled[place], atol=1e-4, rtol=1e-4)


def test_with_norms_over_the_batch_they_do():
    encoder = convnext(grn_pooling="batch")
    batch = prepared(encoder, raw(n=4))
    alone, together = encoder.forward_features(batch.first(1)), encoder.forward_features(batch)
    assert (alone.tokens[0] - together.tokens[0]).abs().max() > 1e-2


def test_zero_sites_hide_black_pixels_only_when_asked_for():
    keep = torch.tensor([[0, 1, 5]])
    image = ImageBatch.of(torch.randn(1, 3, 16, 24), bands=("R", "G", "B"), unit=NORMALISED)
    image.pixels[..., 2:5, 3:6] = 0
    batch = Batch({"optical": image}, ("",), torch.zeros(1))
    seen, hidden = convnext().forward_features(batch, keep), convnext(zero_sites=True).forward_features(batch, keep)
    assert not torch.allclose(seen.tokens, hidden.tokens)


def test_what_was_not_observed_is_hidden_as_well():
    encoder = convnext()
    batch = prepared(encoder, raw())
    valid = torch.ones(2, 1, 16, 24, dtype=torch.bool)
    valid[:, :, :8, 8:16] = False  # patch 1
    gap = prepared(encoder, raw().replace_images(optical=replace(raw()["optical"], valid=valid)))
    with_gap = encoder.forward_features(gap, torch.tensor([[0, 1, 5], [4, 1, 2]])).tokens
    without = encoder.forward_features(batch, torch.tensor([[0, 5], [4, 2]])).tokens
    torch.testing.assert_close(with_gap[:, [0, 2]], without)
    assert (with_gap[:, 1] == 0).all()


def test_gradients_stay_small_beside_what_was_not_observed():
    encoder = build_encoder("convnext", spec(), None, {"dims": (8, 8, 8, 8), "depths": (1, 1, 1, 1)})
    batch = prepared(encoder, raw(n=4))
    valid = torch.ones(4, 1, 16, 24, dtype=torch.bool)
    valid[0] = False
    pixels = batch["optical"].pixels * valid[:, :, None]
    gap = batch.replace_images(optical=replace(batch["optical"], pixels=pixels, valid=valid))
    keep = torch.arange(4).expand(4, -1)
    encoder.forward_features(gap, keep).tokens.square().sum().backward()
    norm = torch.stack([p.grad.norm() for p in encoder.parameters()]).norm()
    encoder.zero_grad()
    encoder.forward_features(batch, keep).tokens.square().sum().backward()
    assert norm < 2 * torch.stack([p.grad.norm() for p in encoder.parameters()]).norm()


def test_layers_and_readouts():
    encoder = convnext(Readout(pooling="mean-std", layers=(1, -1)))
    features, stages = encoder(raw()), encoder.forward_features(prepared(encoder, raw())).maps
    assert features.strides == [2, 8] and features.pooled.shape == (2, 2 * (6 + 10))
    torch.testing.assert_close(features.maps[0], stages[1])
    torch.testing.assert_close(features.pooled[:, :6], stages[1].mean((2, 3)))
    shallow = encoder.forward_intermediates(prepared(encoder, raw()), (0,))
    torch.testing.assert_close(shallow.maps[0], stages[0])
    with pytest.raises(InputError, match="no such layer"):
        encoder.forward_intermediates(prepared(encoder, raw()), (4,))


def test_a_pyramid_reaches_full_resolution():
    encoder = convnext(patch=16)
    features = encoder.forward_pyramid(prepared(encoder, raw(height=32, width=32)))
    assert features.strides == [1, 2, 2, 4, 8, 16]
    assert [m.shape[-1] for m in features.maps] == [32, 16, 16, 8, 4, 2]


def test_without_padding_the_grid_shrinks_and_cannot_be_masked():
    encoder = convnext(stem_padding=0)
    batch = prepared(encoder, raw(height=56, width=56))
    assert [m.shape[-1] for m in encoder.forward_features(batch).maps] == [54, 27, 13, 6]
    with pytest.raises(RecipeError, match="stem_padding"):
        encoder.forward_features(batch, torch.tensor([[0], [0]]))
    coarse = convnext(stem_padding=0, patch=16)  # the padded 2 x 2 convolution makes up for it
    batch = prepared(coarse, raw(height=112, width=112))
    assert [m.shape[-1] for m in coarse.forward_features(batch).maps] == [56, 28, 14, 7]


def test_its_config_builds_it_again():
    encoder = convnext(patch=16, grn_pooling="batch", zero_sites=True)
    twin = build_encoder("convnext", spec(), None, encoder.config())
    twin.load_state_dict(encoder.state_dict(), strict=True)
    batch = raw(height=32, width=32)
    torch.testing.assert_close(twin.eval()(batch).pooled, encoder(batch).pooled)


@pytest.mark.parametrize("stem", ["initial-conv", "patch"])
def test_other_bands_keep_what_they_share(stem):
    encoder = convnext(stem=stem)
    other = encoder.adapt(spec=spec(("B", "R")))
    first = "stem.0.weight" if stem == "patch" else "initial_conv.0.weight"
    old, new = encoder.state_dict()[first], other.state_dict()[first]
    torch.testing.assert_close(new, old[:, [2, 0]])


def test_the_released_initialisation_is_wide():
    def spread(released: bool) -> list[float]:
        torch.manual_seed(0)
        encoder = build_encoder("convnext", spec(), None, {"released_init": released})
        block = encoder.stages[0][0]
        return [w.weight.std().item() for w in (block.dwconv, block.pwconv1, encoder.initial_conv[0])]

    assert spread(False) == pytest.approx([0.02, 0.02, 0.02], rel=0.2)
    assert spread(True) == pytest.approx([0.88, 0.88, 0.02], rel=0.2)


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="20 x 24"):
        convnext()(raw(height=20))
    for options, match in (
        ({"patch": 12}, "patch 12"),
        ({"dims": (4, 8)}, "four stages"),
        ({"pach": 8}, "pach"),
    ):
        with pytest.raises(RecipeError, match=match):
            convnext(**options)
    with pytest.raises(RecipeError, match="class token"):
        convnext(Readout(pooling="class"))
