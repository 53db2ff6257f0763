"""The ViT: sealed, visible tokens only, any grid, GSD per image, layers and readouts."""

from __future__ import annotations

import pytest
import torch

from ecotone.encoders import Encoder, Readout, ViT, build_encoder
from ecotone.errors import InputError, RecipeError
from ecotone.inputs import InputSpec, RoleSpec, ZScore
from ecotone.samples import Batch, ImageBatch
from ecotone.sensors import unit

CONFIG = {"patch": 8, "width": 32, "depth": 3, "heads": 2}


def spec(**options) -> InputSpec:
    normaliser = ZScore(mean=(100.0, 110.0, 120.0), std=(50.0, 50.0, 50.0))
    role = RoleSpec(sensor="rgb", bands=("R", "G", "B"), unit="uint8", normaliser=normaliser, **options)
    return InputSpec(roles={"optical": role}, size_multiple=8)


def raw(n=2, height=32, width=32, gsd=10.0, bands=("R", "G", "B")) -> Batch:
    pixels = torch.rand(n, len(bands), height, width, generator=torch.Generator().manual_seed(0)) * 255
    image = ImageBatch.of(pixels, bands=bands, unit=unit("uint8"), gsd=gsd)
    return Batch(images={"optical": image}, keys=("",) * n, seeds=torch.arange(n))


def vit(readout=None, **options) -> ViT:
    torch.manual_seed(0)
    return build_encoder("vit", spec(gsd_required=options.get("positions") == "gsd"), readout, CONFIG | options).eval()


def test_calling_an_encoder_normalises_and_orders_bands_by_name():
    encoder = vit()
    batch = raw()
    swapped = ImageBatch.of(batch["optical"].pixels[:, 0].flip(1), bands=("B", "G", "R"), unit=unit("uint8"), gsd=10.0)
    torch.testing.assert_close(encoder(batch).pooled, encoder(batch.replace_images(optical=swapped)).pooled)
    by_hand = encoder.forward_features(encoder.spec.prepare(batch))
    torch.testing.assert_close(encoder(batch).tokens, by_hand.tokens)


def test_a_subclass_cannot_forget_the_check():
    with pytest.raises(TypeError, match="may not override forward"):

        class Forgetful(Encoder):
            def forward(self, batch):
                return batch


def test_a_missing_band_is_refused_by_name():
    with pytest.raises(InputError, match="lack 1 band that the model needs: B"):
        vit()(raw(bands=("R", "G")))


def test_the_encoder_sees_visible_tokens_only():
    encoder = vit()
    lengths = []
    encoder.blocks[0].register_forward_pre_hook(lambda module, args: lengths.append(args[0].shape[1]))
    batch = encoder.spec.prepare(raw())
    keep = torch.tensor([[0, 5, 9, 15], [3, 1, 2, 8]])
    features = encoder.forward_features(batch, keep)
    assert lengths == [5]  # four tokens and the class token
    assert features.tokens.shape == (2, 4, 32)
    hidden = batch["optical"].pixels.clone()
    hidden[0, :, :, :8, 8:16] += 5.0  # patch 1, which the first image hides
    changed = batch.replace_images(optical=type(batch["optical"])(**{**vars(batch["optical"]), "pixels": hidden}))
    torch.testing.assert_close(encoder.forward_features(changed, keep).tokens[0], features.tokens[0])


def test_grids_need_not_be_square():
    features = vit()(raw(height=16, width=40))
    assert features.maps[0].shape == (2, 32, 2, 5)
    torch.testing.assert_close(features.maps[0].flatten(2).transpose(1, 2), features.tokens)


def test_a_size_that_does_not_divide_is_refused():
    with pytest.raises(InputError, match="30 x 32 pixels"):
        vit()(raw(height=30))


def test_gsd_positions_follow_each_image():
    encoder = vit(positions="gsd")
    mixed = raw(gsd=torch.tensor([10.0, 20.0]))
    together = encoder(mixed).tokens
    for i, gsd in enumerate((10.0, 20.0)):
        torch.testing.assert_close(encoder(raw(gsd=gsd)).tokens[i], together[i])
    assert not torch.allclose(encoder(raw(gsd=10.0)).tokens[1], together[1])


def test_at_the_reference_gsd_positions_are_the_plain_ones():
    scaled, plain = vit(positions="gsd", reference_gsd=10.0), vit()
    scaled.load_state_dict(plain.state_dict())
    torch.testing.assert_close(scaled(raw(gsd=10.0)).tokens, plain(raw(gsd=10.0)).tokens)


@pytest.mark.parametrize("gsd", [None, 0.0, -1.0])
def test_gsd_positions_refuse_a_gsd_that_is_none(gsd):
    with pytest.raises(InputError, match="GSD"):
        vit(positions="gsd")(raw(gsd=gsd))


def test_layers_and_readouts():
    encoder = vit(Readout(pooling="mean-std", layers=(0, -1)))
    features = encoder(raw())
    assert features.pooled.shape == (2, 4 * 32)
    last = encoder.forward_features(encoder.spec.prepare(raw()))
    torch.testing.assert_close(features.maps[1], last.maps[0])
    torch.testing.assert_close(features.pooled[:, 32:64], last.maps[0].mean((2, 3)))
    torch.testing.assert_close(features.pooled[:, 96:], last.maps[0].flatten(2).std(2, correction=0))
    assert vit(Readout(pooling="class"))(raw()).pooled.shape == (2, 32)


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="no such layer"):
        vit(Readout(layers=(3,)))(raw())


def test_an_unknown_encoder_or_option_is_refused():
    with pytest.raises(RecipeError, match="Did you mean 'vit'"):
        build_encoder("vitt", spec())
    with pytest.raises(RecipeError, match="dpeth"):
        build_encoder("vit", spec(), None, {"dpeth": 3})
