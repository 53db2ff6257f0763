"""Batched resampling equals torch's, and the GSD follows every change of size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ecotone.errors import InputError
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch, ImageBatch
from ecotone.sensors import unit
from ecotone.transforms import (
    Flip,
    QuarterTurn,
    RandomCrop,
    RandomResizedCrop,
    crop_resize,
    downsample,
    resample,
    resize,
)

boxes = st.integers(1, 24).flatmap(
    lambda side: st.tuples(st.integers(0, 24 - side), st.integers(0, 24 - side), st.just(side))
)


def images(n=3, size=24, gsd=10.0, valid=False) -> ImageBatch:
    pixels = torch.rand(n, 1, 2, size, size, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(1)) > 0.2 if valid else None
    return ImageBatch.of(pixels, bands=("R", "G"), unit=unit("reflectance"), gsd=gsd, valid=mask)


def batch(image: ImageBatch, seed=0) -> Batch:
    n = len(image.pixels)
    return Batch(images={"optical": image}, keys=("",) * n, seeds=torch.arange(n) + seed)


@settings(max_examples=60, deadline=None)
@given(box=boxes, out=st.integers(1, 40), filter=st.sampled_from(["area", "bilinear", "bicubic"]))
def test_resample_equals_torch_on_the_crop(box, out, filter):
    left, top, side = box
    pixels = images(1).pixels[:, 0]
    ours = resample(pixels, torch.tensor([[left, top, side, side]]).float(), (out, out), filter)
    crop = pixels[..., top : top + side, left : left + side]
    if filter == "area" and side % out:  # torch's area filter rounds cells to whole pixels; ours weighs them
        assert crop.amin() - 1e-6 <= ours.amin() and ours.amax() <= crop.amax() + 1e-6
        return
    options = {} if filter == "area" else {"mode": filter, "antialias": True}
    theirs = F.interpolate(crop, (out, out), **({"mode": "area"} if filter == "area" else options))
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(box=boxes, out=st.integers(2, 40), filter=st.sampled_from(["bilinear", "bicubic"]))
def test_aligned_filters_equal_torch_with_aligned_corners(box, out, filter):
    left, top, side = box
    pixels = images(1).pixels[:, 0]
    ours = resample(pixels, torch.tensor([[left, top, side, side]]).float(), (out, out), f"{filter}-aligned")
    crop = pixels[..., top : top + side, left : left + side]
    theirs = F.interpolate(crop, (out, out), mode=filter, align_corners=True)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(box=boxes, out=st.integers(1, 40))
def test_nearest_equals_torch_and_invents_no_class(box, out):
    left, top, side = box
    pixels = images(1).pixels[:, 0]
    ours = resample(pixels, torch.tensor([[left, top, side, side]]).float(), (out, out), "nearest")
    crop = pixels[..., top : top + side, left : left + side]
    torch.testing.assert_close(ours, F.interpolate(crop, (out, out), mode="nearest-exact"))


@pytest.mark.parametrize("shrink", [lambda i: resize(i, (7, 7), "bicubic"), lambda i: downsample(i, 2)])
def test_class_indices_are_never_averaged(shrink):
    codes = torch.tensor([-1, 0, 7, 30], dtype=torch.int8)[torch.arange(24 * 24) % 4].view(1, 1, 1, 24, 24)
    done = shrink(ImageBatch.of(codes, bands=("label",), unit=unit("class"), gsd=10.0))
    assert set(done.pixels.unique().tolist()) <= {-1.0, 0.0, 7.0, 30.0}


@pytest.mark.parametrize("filter", ["area", "nearest", "bilinear", "bicubic", "bilinear-aligned"])
def test_a_missing_value_stays_where_the_filter_meets_it(filter):
    whole = images(1)
    holed = images(1)
    holed.pixels[0, 0, 1, 12, 5] = float("nan")
    clean, done = (resize(i, (12, 12), filter).pixels for i in (whole, holed))
    gone = done.isnan()
    assert gone[0, 0, 1].sum() <= 16 and not gone[0, 0, 0].any()
    assert gone.any() or filter in ("nearest", "bilinear-aligned")
    torch.testing.assert_close(done[~gone], clean[~gone])


def test_negative_sizes_mirror():
    pixels = images(1).pixels[:, 0]
    box = torch.tensor([[0.0, 0.0, -24.0, 24.0]])
    torch.testing.assert_close(resample(pixels, box, (24, 24), "bilinear"), pixels.flip(-1))


@settings(max_examples=60, deadline=None)
@given(box=boxes, out=st.integers(1, 48), gsd=st.floats(0.1, 60), coarser=st.floats(1, 4))
def test_a_crop_keeps_the_gsd_and_a_resize_changes_it(box, out, gsd, coarser):
    left, top, side = box
    image = images(1, gsd=gsd)
    image = type(image)(**{**vars(image), "effective_gsd": image.gsd * coarser})
    done = crop_resize(image, torch.tensor([[left, top, side, side]]).float(), (out, out))
    ground_before, ground_after = image.gsd * side, done.gsd * out
    torch.testing.assert_close(ground_before, ground_after)
    assert done.effective_gsd >= image.effective_gsd * (1 - 1e-6)
    assert done.effective_gsd >= done.gsd * (1 - 1e-6)
    if side == out:
        torch.testing.assert_close(done.gsd, image.gsd)


def test_enlarging_lowers_the_pitch_but_not_the_effective_gsd():
    done = resize(downsample(images(), 4), (24, 24), "bilinear")
    assert done.gsd.tolist() == pytest.approx([10.0] * 3)
    assert done.effective_gsd.tolist() == pytest.approx([40.0] * 3)


@pytest.mark.parametrize("filter", ["area", "bilinear", "bilinear-aligned"])
def test_downsampling_multiplies_the_gsd(filter):
    small = downsample(images(valid=True), 2, filter)
    assert small.size == (12, 12)
    assert small.gsd.tolist() == pytest.approx([20.0] * 3)
    assert small.valid.shape == (3, 1, 12, 12)


def test_downsampling_refuses_a_remainder():
    with pytest.raises(InputError, match="multiples of 5"):
        downsample(images(), 5)


def test_a_box_outside_the_image_is_refused():
    with pytest.raises(InputError, match="leaves the image"):
        crop_resize(images(1), torch.tensor([[20.0, 0.0, 8.0, 8.0]]), (8, 8))


TRANSFORMS = [RandomCrop(size=16), RandomResizedCrop(size=16, scale=(0.3, 1.0)), Flip(), QuarterTurn()]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: t.name)
def test_a_sample_is_augmented_alike_in_every_batch(transform):
    image = images(4, valid=True)
    whole = batch(image)
    together = transform(whole, SampleRandom(whole.seeds))["optical"]
    for i in range(4):
        one = ImageBatch.of(
            image.pixels[i : i + 1], bands=image.bands, unit=image.unit, gsd=10.0, valid=image.valid[i : i + 1]
        )
        alone = transform(
            Batch(images={"optical": one}, keys=("",), seeds=whole.seeds[i : i + 1]),
            SampleRandom(whole.seeds[i : i + 1]),
        )["optical"]
        torch.testing.assert_close(alone.pixels[0], together.pixels[i])
        torch.testing.assert_close(alone.gsd[0], together.gsd[i])


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: t.name)
def test_aligned_roles_stay_aligned(transform):
    image = images(5)
    pair = Batch(images={"a": image, "b": image}, keys=("",) * 5, seeds=torch.arange(5))
    done = transform(pair, SampleRandom(pair.seeds))
    assert torch.equal(done["a"].pixels, done["b"].pixels)


def test_random_resized_crops_cover_the_asked_range_of_gsd():
    image = images(1).pixels.expand(2000, -1, -1, -1, -1)
    many = batch(ImageBatch.of(image, bands=("R", "G"), unit=unit("reflectance"), gsd=10.0))
    gsd = RandomResizedCrop(size=24, scale=(0.25, 1.0))(many, SampleRandom(many.seeds))["optical"].gsd
    assert 5.0 <= gsd.min() < 5.5
    assert 9.5 < gsd.max() <= 10.0


def test_flips_and_turns_reach_all_eight_orientations():
    image = images(1, size=8).pixels.expand(300, -1, -1, -1, -1)
    many = batch(ImageBatch.of(image, bands=("R", "G"), unit=unit("reflectance"), gsd=10.0))
    random = SampleRandom(many.seeds)
    done = QuarterTurn()(Flip()(many, random), random)["optical"].pixels
    assert len({p.numpy().tobytes() for p in done}) == 8
    torch.testing.assert_close(done.sum((1, 2, 3, 4)), image.sum((1, 2, 3, 4)))
