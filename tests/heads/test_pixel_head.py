"""The pixel head: full size, standardised cells, maps of several layers on the finest grid."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ecotone.encoders import Features
from ecotone.heads import PixelHead
from ecotone.heads.dense import side_by_side


def features(*sizes: tuple[int, int, int]) -> Features:
    draw = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, channels, h, h, generator=draw) for channels, h, _ in sizes]
    return Features(maps=maps, strides=[stride for *_, stride in sizes], pooled=torch.zeros(2, 1))


def head(channels: int, outputs: int = 3) -> PixelHead:
    made = PixelHead(features=channels, outputs=outputs)
    torch.nn.init.normal_(made.linear.weight)
    return made


def test_scores_have_the_size_of_the_image_and_equal_a_linear_layer_on_enlarged_maps():
    given = features((5, 4, 8))
    made = head(5)
    enlarged = F.interpolate(given.maps[0], (32, 32), mode="bilinear", align_corners=False)
    assert torch.allclose(made(given), made.linear(enlarged), atol=1e-5)


def test_maps_of_several_strides_meet_on_the_finest():
    assert head(8)(features((5, 4, 8), (3, 8, 4))).shape == (2, 3, 32, 32)


def test_features_are_standardised_and_a_constant_one_only_centred():
    given, made = features((5, 4, 8)), head(5)
    given.maps[0][:, 0] = 7.0
    cells = side_by_side(given.maps).permute(0, 2, 3, 1).reshape(-1, 5)
    made.standardise_by(cells)
    std = cells.std(0, correction=0)
    standard = (cells - cells.mean(0)) / torch.where(std > 1e-8, std, 1.0)
    expected = made.linear(standard.view(2, 4, 4, 5).permute(0, 3, 1, 2))
    plain = Features(maps=given.maps, strides=[1], pooled=given.pooled)
    assert torch.allclose(made(plain), expected, atol=1e-5)
