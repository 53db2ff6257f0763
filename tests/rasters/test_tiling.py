"""Tilings cover every pixel, stay on the raster, and blend without a seam."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecotone.errors import RecipeError
from ecotone.rasters.blending import StripBuffer
from ecotone.rasters.tiling import BLENDS, Tiling


@st.composite
def tilings(draw):
    window = draw(st.integers(3, 24))
    shape = draw(st.tuples(st.integers(1, 60), st.integers(1, 40)))
    return Tiling(shape, window, draw(st.integers(window // 3, window)), draw(st.sampled_from(BLENDS)))


def blended(tiling: Tiling, image: torch.Tensor, first: int = 0, valid: np.ndarray | None = None, differ=0.0):
    """The image cut into windows and put together again, with the mask of what was seen; windows may differ."""
    height, width = tiling.shape
    side = tiling.window
    padded = torch.zeros(image.shape[0], max(height, side), max(width, side))
    padded[:, :height, :width] = image
    seen = np.zeros(padded.shape[1:], bool)
    seen[:height, :width] = True if valid is None else valid
    buffer, rows = StripBuffer(tiling, image.shape[0], first), []
    for r, top in enumerate(tiling.rows):
        if top + side <= first:
            continue
        for c, left in enumerate(tiling.cols):
            part = (slice(top, top + side), slice(left, left + side))
            if seen[part].any():
                buffer.add(r, c, padded[:, *part] + differ * (r + 2 * c), None if seen[part].all() else seen[part])
        rows += buffer.finish(r)
    return torch.cat([a for a, _ in rows], 1), torch.cat([b for _, b in rows])


@settings(deadline=None, max_examples=40)
@given(tilings())
def test_windows_lie_on_the_raster_and_together_give_it_back(tiling):
    image = torch.rand(2, *tiling.shape, generator=torch.Generator().manual_seed(0))
    for length, starts in zip(tiling.shape, (tiling.rows, tiling.cols), strict=True):
        assert starts[0] == 0
        assert starts[-1] + tiling.window == max(length, tiling.window)
        assert all(0 < b - a <= tiling.stride for a, b in pairwise(starts))
    values, seen = blended(tiling, image)
    assert seen.all()
    assert torch.allclose(values, image, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(tilings(), st.integers(0, 2**32 - 1))
def test_pixels_that_were_not_observed_have_no_value_and_spoil_no_other(tiling, seed):
    valid = np.random.default_rng(seed).random(tiling.shape) > 0.4
    image = torch.where(torch.from_numpy(valid), 1.0, torch.nan).expand(1, *tiling.shape)
    values, seen = blended(tiling, image.nan_to_num(1e6), valid=valid)
    assert np.array_equal(seen.numpy(), valid)
    assert torch.allclose(values[0][seen], torch.ones(int(valid.sum())), atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(tilings(), st.integers(0, 60))
def test_a_run_that_goes_on_at_any_row_gives_the_same_rows_to_the_bit(tiling, first):
    image = torch.rand(2, *tiling.shape, generator=torch.Generator().manual_seed(0))
    whole, _ = blended(tiling, image, differ=0.1)
    if first < tiling.shape[0]:
        rest, _ = blended(tiling, image, first, differ=0.1)
        assert torch.equal(rest, whole[:, first:])


@pytest.mark.parametrize("blend", BLENDS)
def test_the_weights_of_windows_that_meet_add_up_to_one(blend):
    tiling = Tiling((40, 40), 16, 12, blend)
    total = np.zeros(40)
    for start, weight in zip(tiling.rows, tiling.row_weights, strict=True):
        total[start : start + 16] += weight
    assert np.allclose(total, 1)


def test_crop_takes_each_pixel_from_the_window_whose_middle_is_nearest():
    tiling = Tiling((100, 100), 32, 20, "crop")
    middles = np.array(tiling.rows) + 16
    for i, (start, weight) in enumerate(zip(tiling.rows, tiling.row_weights, strict=True)):
        away = np.abs(start + np.arange(32)[:, None] + 0.5 - middles)
        nearest = away[:, i] <= away.min(1)
        assert (nearest[weight > 0]).all()


def test_windows_that_leave_gaps_are_refused():
    with pytest.raises(RecipeError, match="overlap by less than their side"):
        Tiling((10, 10), 4, 5)
    with pytest.raises(RecipeError, match="no such way to blend"):
        Tiling((10, 10), 4, 4, "mean")  # pyright: ignore[reportArgumentType]
