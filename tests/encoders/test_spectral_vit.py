"""The spectral ViT: 3-D tokens of any group, patch and size; positions carried over; visible tokens only; folds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecotone.encoders.base import Readout
from ecotone.encoders.spectral_vit import SpectralViT
from ecotone.errors import CheckpointError, InputError, RecipeError
from ecotone.inputs import NORMALISED, Identity, InputSpec, RoleSpec
from ecotone.nn.masking import take
from ecotone.nn.patches import spectral_patchify, spectral_unpatchify
from ecotone.nn.positions import resize_grid, resize_line, separable_positions
from ecotone.samples import Batch, ImageBatch
from ecotone.sensors import sensor, unit

BANDS = tuple(b.name for b in sensor("sentinel2-l2a").bands)
SMALL = {"width": 16, "depth": 2, "heads": 2, "patch": 4, "image_size": 16}


def spec(bands=BANDS) -> InputSpec:
    role = RoleSpec(sensor="sentinel2-l2a", bands=bands, unit="reflectance x 10000", normaliser=Identity())
    return InputSpec(roles={"optical": role})


def encoder(bands=BANDS, readout=None, **options) -> SpectralViT:
    torch.manual_seed(0)
    return SpectralViT(spec(bands), readout, **(SMALL | options)).eval()


def prepared(bands=12, height=16, width=16, n=2) -> Batch:
    pixels = torch.randn(n, bands, height, width, generator=torch.Generator().manual_seed(1))
    image = ImageBatch.of(pixels, bands=BANDS[:bands], unit=NORMALISED)
    return Batch(images={"optical": image}, keys=("",) * n, seeds=torch.arange(n))


@settings(max_examples=30, deadline=None)
@given(
    groups=st.integers(1, 4),
    group=st.integers(1, 3),
    patch=st.sampled_from([2, 3, 4]),
    rows=st.integers(1, 4),
    cols=st.integers(1, 4),
)
def test_any_group_patch_and_size(groups, group, patch, rows, cols):
    bands = groups * group
    model = encoder(BANDS[:bands], group=group, patch=patch, image_size=2 * patch)
    features = model.forward_features(prepared(bands, rows * patch, cols * patch))
    assert features.groups == groups
    assert features.tokens.shape == (2, groups * rows * cols, 16)
    assert features.maps[0].shape == (2, groups * 16, rows, cols)
    assert features.pooled.shape == (2, 16)
    t, r, c, d = groups - 1, rows - 1, cols - 1, 5  # group slowest, then row, then column; channel t * D + d
    token = features.tokens[:, (t * rows + r) * cols + c, d]
    torch.testing.assert_close(features.maps[0][:, t * 16 + d, r, c], token)


@settings(max_examples=20, deadline=None)
@given(
    group=st.sampled_from([1, 2, 3, 4, 6]), patch=st.sampled_from([1, 2, 4]), grid=st.tuples(*[st.integers(1, 3)] * 2)
)
def test_blocks_go_back_to_the_image(group, patch, grid):
    images = torch.randn(2, 12, grid[0] * patch, grid[1] * patch)
    blocks = spectral_patchify(images, patch, group)
    assert blocks.shape == (2, 12 // group * grid[0] * grid[1], group * patch**2)
    assert spectral_unpatchify(blocks, patch, grid).equal(images)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(64)), st.integers(1, 64), st.booleans())
def test_visible_tokens_are_embedded_as_in_the_whole_image(order, count, class_token):
    model, batch = encoder(depth=1, class_token=class_token), prepared()
    keep = torch.tensor([order[:count], order[::-1][:count]])
    whole, some = [], []
    for seen, argument in ((whole, None), (some, keep)):
        handle = model.blocks[0].register_forward_pre_hook(lambda module, args, seen=seen: seen.append(args[0]))
        model.forward_features(batch, argument)
        handle.remove()
    first = int(class_token)
    torch.testing.assert_close(some[0][:, first:], take(whole[0][:, first:], keep))


def test_with_all_tokens_visible_the_features_are_those_of_the_whole_image():
    model, batch = encoder(), prepared()
    keep = torch.stack([torch.randperm(64), torch.randperm(64)])
    whole = model.forward_features(batch)
    torch.testing.assert_close(model.forward_features(batch, keep).tokens, take(whole.tokens, keep))


def test_hidden_tokens_do_not_matter():
    model, batch = encoder(), prepared()
    keep = torch.arange(1, 64, 2).expand(2, -1)
    pixels = batch["optical"].pixels.clone()
    pixels[:, :, :3, :4, :4] += 5.0  # the block of token 0
    changed = batch.replace_images(optical=replace(batch["optical"], pixels=pixels))
    torch.testing.assert_close(model.forward_features(changed, keep).tokens, model.forward_features(batch, keep).tokens)


def test_positions_at_the_learned_size_are_the_table_itself():
    model = encoder()
    assert resize_grid(model.pos_embed_spatial, (4, 4)) is model.pos_embed_spatial
    assert resize_line(model.pos_embed_spectral, 4) is model.pos_embed_spectral
    full = separable_positions(model.pos_embed_spectral, model.pos_embed_spatial)
    torch.testing.assert_close(full[0, 2 * 16 + 5], model.pos_embed_spectral[0, 2] + model.pos_embed_spatial[0, 5])


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 9), cols=st.integers(1, 9))
def test_interpolated_positions_keep_a_constant_and_a_direction(rows, cols):
    flat = torch.full((1, 16, 2), 3.0)
    torch.testing.assert_close(resize_grid(flat, (rows, cols)), torch.full((1, rows * cols, 2), 3.0))
    downwards = torch.arange(4.0).repeat_interleave(4).view(1, 16, 1)
    table = resize_grid(downwards, (rows, cols)).view(rows, cols)
    assert (table.diff(dim=0) > 0).all()
    torch.testing.assert_close(table, table[:, :1].expand(-1, cols))


def test_another_size_carries_the_positions_over():
    small = encoder()
    large = small.adapt(size=24)
    assert large.pos_embed_spatial.shape == (1, 36, 16)
    batch = prepared(height=24, width=24)
    torch.testing.assert_close(large.forward_features(batch).tokens, small.forward_features(batch).tokens)
    assert large.config()["image_size"] == 24


def test_groups_that_both_know_keep_their_position_and_others_are_interpolated():
    model = encoder()
    line = model.pos_embed_spectral
    fewer = model.adapt(spec=spec(BANDS[:9]))
    torch.testing.assert_close(fewer.pos_embed_spectral, line[:, :3])
    turned = model.adapt(spec=spec(BANDS[9:] + BANDS[:9]))
    torch.testing.assert_close(turned.pos_embed_spectral, line.roll(1, 1))
    other = model.adapt(spec=spec(tuple(reversed(BANDS[:6]))))
    torch.testing.assert_close(other.pos_embed_spectral, (line[:, ::2] + line[:, 1::2]) / 2)


def test_a_table_that_is_no_square_is_refused():
    state = encoder().state_dict()
    state["pos_embed_spatial"] = torch.zeros(1, 15, 16)
    with pytest.raises(CheckpointError, match="found 15 positions; expected a square number"):
        encoder().fit_state(state, BANDS)


def test_the_class_token_stands_apart():
    model = encoder(readout=Readout(pooling="class"), class_token=True)
    features = model.forward_features(prepared())
    assert features.tokens.shape == (2, 64, 16)
    torch.testing.assert_close(features.pooled, features.class_tokens[0])


def test_folds_and_layers():
    model = encoder()
    concat = model.forward_intermediates(prepared(), (0, -1))
    mean = model.forward_intermediates(prepared(), (0, -1), fold="mean")
    for a, b in zip(concat.maps, mean.maps, strict=True):
        torch.testing.assert_close(a.unflatten(1, (4, 16)).mean(1), b)
    torch.testing.assert_close(concat.pooled, mean.pooled)  # the vector does not depend on the fold
    torch.testing.assert_close(mean.maps[1], model.forward_features(prepared()).maps[0].unflatten(1, (4, 16)).mean(1))
    assert concat.strides == [4, 4]


def test_released_use_normalises_the_mean_and_leaves_the_map_alone():
    ours, theirs = encoder(), encoder(final_norm="pooled", drop_first_token=True)
    theirs.load_state_dict(ours.state_dict())
    plain, quirk = ours.forward_features(prepared()), theirs.forward_features(prepared())
    torch.testing.assert_close(plain.tokens, ours.norm(quirk.tokens))
    torch.testing.assert_close(quirk.pooled, ours.norm(quirk.tokens[:, 1:].mean(1)))
    keep = torch.arange(6).expand(2, -1)
    torch.testing.assert_close(  # pretraining goes on as it was
        theirs.forward_features(prepared(), keep).tokens, ours.forward_features(prepared(), keep).tokens
    )


def test_bands_that_do_not_divide():
    with pytest.raises(RecipeError, match="found 10 bands; expected a multiple of group: 3"):
        encoder(BANDS[:10])
    batch = prepared(10)
    last = batch["optical"].pixels[:, 0, -1:]
    for pad, filling in (("repeat", last), ("zero", torch.zeros_like(last))):
        model = encoder(BANDS[:10], pad=pad)
        whole = torch.cat([batch["optical"].pixels[:, 0], filling, filling], 1)
        padded = batch.replace_images(optical=ImageBatch.of(whole, bands=BANDS, unit=NORMALISED))
        torch.testing.assert_close(
            model.forward_features(batch).tokens, encoder().forward_features(padded).tokens, msg=pad
        )


def test_what_cannot_be_encoded_is_refused():
    raw = ImageBatch.of(torch.rand(2, 12, 18, 16), bands=BANDS, unit=unit("reflectance x 10000"))
    with pytest.raises(InputError, match=r"found 18 x 16 pixels; expected multiples of 4"):
        encoder()(prepared().replace_images(optical=raw))
    with pytest.raises(RecipeError, match=r"found image_size: 18; expected a multiple of patch: 4"):
        encoder(image_size=18)
    with pytest.raises(InputError, match="no such layer"):
        encoder().forward_intermediates(prepared(), (2,))
    with pytest.raises(InputError, match="asks for the class token"):
        encoder(readout=Readout(pooling="class")).forward_features(prepared())
    two = ImageBatch.of(torch.rand(2, 2, 12, 16, 16), bands=BANDS, unit=NORMALISED)
    with pytest.raises(InputError, match="one date; found 2 dates"):
        encoder().forward_features(prepared().replace_images(optical=two))


def test_its_config_builds_it_again():
    model = encoder(class_token=True, group=4)
    twin = SpectralViT(model.spec, model.readout, **model.config())
    twin.load_state_dict(model.state_dict(), strict=True)
    assert SpectralViT.size_multiple(model.config()) == 4


def test_initial_weights_are_those_of_the_paper():
    model = encoder(width=64, patch=8, image_size=96)
    for table in (model.pos_embed_spatial, model.pos_embed_spectral):
        assert table.std().item() == pytest.approx(0.02, rel=0.15)
    kernel = model.patch_embed.proj.weight
    assert kernel.abs().max().item() == pytest.approx((6 / (64 + 3 * 64)) ** 0.5, rel=1e-2)
    assert model.patch_embed.proj.bias.abs().sum() > 0  # PyTorch's default for convolutions
    assert not model.blocks[0].attn.qkv.bias.any()
