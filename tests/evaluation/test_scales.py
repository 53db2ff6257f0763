from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ecotone.errors import InputError, RecipeError
from ecotone.evaluation.scales import plan_scales
from ecotone.samples import ImageBatch
from ecotone.sensors import unit


def images(size, gsd=10.0):
    pixels = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) * 255
    return ImageBatch.of(pixels, bands=("R", "G", "B"), unit=unit("uint8"), gsd=gsd)


def test_resized_back_keeps_the_pitch_and_remembers_the_lost_detail():
    plan = plan_scales("test-resized", [1, 0.25], (64, 64), multiple=8)
    out = plan.test_view(0.25).apply(images((64, 64)))
    assert out.size == (64, 64)
    assert out.gsd.tolist() == pytest.approx([10, 10])
    assert out.effective_gsd.tolist() == pytest.approx([40, 40])
    small = torch.nn.functional.interpolate(images((64, 64)).pixels[:, 0], (16, 16), mode="area")
    expected = torch.nn.functional.interpolate(small, (64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(out.pixels[:, 0], expected, atol=1e-3, rtol=1e-5)


def test_fed_small_has_a_larger_gsd():
    out = plan_scales("test-native", [0.5], (64, 64), multiple=8).test_view(0.5).apply(images((64, 64)))
    assert out.size == (32, 32)
    assert out.gsd.tolist() == out.effective_gsd.tolist() == pytest.approx([20, 20])


@pytest.mark.parametrize(
    ("protocol", "train", "test"),
    [("native", (16, 16), (16, 16)), ("test-native", (64, 64), (16, 16)), ("test-resized", (64, 64), (64, 64))],
)
def test_each_protocol_feeds_its_own_sizes(protocol, train, test):
    plan = plan_scales(protocol, [0.25], (64, 64), multiple=8)
    assert plan.train_view(plan.train_scale(0.25)).fed == train
    assert plan.test_view(0.25).fed == test


def test_grids_below_two_by_two_tokens_are_refused_with_a_reason():
    plan = plan_scales("native", [1, 0.25, 0.125], (64, 64), multiple=8)
    assert plan.refusal(0.25) is None
    assert "1 x 1 tokens of 8 pixels" in plan.refusal(0.125)
    assert plan_scales("test-resized", [0.125], (64, 64), multiple=8).refusal(0.125) is None


def test_full_scale_leaves_the_pixels_alone():
    image = images((64, 64))
    assert plan_scales("test-resized", [1], (64, 64), multiple=8).test_view(1.0).apply(image) is image


@given(st.integers(32, 90), st.sampled_from([1, 4, 8]), st.floats(0.3, 1), st.sampled_from(["native", "test-native"]))
def test_reduced_sizes_can_always_be_fed_and_never_hold_more_detail_than_asked(side, multiple, scale, protocol):
    plan = plan_scales(protocol, [scale], (side, side + 3), multiple=multiple)
    view = plan.test_view(scale)
    if plan.refusal(scale) is None:
        assert all(n % multiple == 0 and n >= 2 * multiple for n in view.fed)
        assert all(fed <= n * scale + 1e-6 for fed, n in zip(view.fed, (side, side + 3), strict=True))
        before, after = images((side, side + 3)), view.apply(images((side, side + 3)))
        shrink = (side * (side + 3) / (view.fed[0] * view.fed[1])) ** 0.5
        assert after.gsd.tolist() == pytest.approx((before.gsd * shrink).tolist(), rel=1e-5)


@pytest.mark.parametrize(("protocol", "scales"), [("nativ", [1]), ("native", [0]), ("native", [2]), ("native", [])])
def test_wrong_options_are_refused(protocol, scales):
    with pytest.raises(RecipeError):
        plan_scales(protocol, scales, (64, 64))


def test_images_too_small_for_two_tokens_are_refused():
    with pytest.raises(InputError, match="too small"):
        plan_scales("test-resized", [1], (12, 12), multiple=8)
