from __future__ import annotations

import numpy as np
import pytest
import torch

from ecotone.evaluation.histograms import ColourHistograms, GradientHistograms
from ecotone.samples import Batch, ImageBatch
from ecotone.sensors import unit


def batch_of(pixels):
    bands = tuple(f"b{i}" for i in range(pixels.shape[1]))
    image = ImageBatch.of(pixels, bands=bands, unit=unit("uint8"))
    return Batch({"optical": image}, ("",) * len(pixels), torch.zeros(len(pixels), dtype=torch.int64))


@pytest.mark.parametrize("bands", [1, 3, 12])
def test_colour_histograms_are_those_of_numpy_over_train_quantiles(bands):
    g = torch.Generator().manual_seed(0)
    train, images = (torch.randn(6, bands, 20, 20, generator=g) * 40 + 100 for _ in range(2))
    histograms = ColourHistograms(train, bins=8)
    found = histograms(batch_of(images)).view(6, bands, 8)
    np.testing.assert_allclose(found.sum(2), 1, atol=1e-6)
    for n in range(6):
        for c in range(bands):
            edges = [-np.inf, *histograms.edges[c].numpy(), np.inf]
            expected = np.histogram(images[n, c].numpy(), edges)[0] / 400
            np.testing.assert_allclose(found[n, c], expected, atol=1e-6)
    on_train = histograms(batch_of(train)).view(6, bands, 8).mean(0)
    np.testing.assert_allclose(on_train, 1 / 8, atol=0.005)  # the edges are quantiles


def test_a_constant_band_falls_into_one_bin():
    flat = torch.full((2, 1, 8, 8), 7.0)
    assert sorted(ColourHistograms(flat, bins=4)(batch_of(flat))[0].tolist()) == [0, 0, 0, 1]


@pytest.mark.parametrize(("turn", "bin_"), [(0, 0), (1, 2)])
def test_gradients_of_a_ramp_fall_into_the_bin_of_its_direction(turn, bin_):
    ramp = torch.arange(16.0).expand(1, 2, 16, 16)  # grows to the right: gradient at 0 degrees
    images = torch.rot90(ramp, turn, (-2, -1)).contiguous()
    found = GradientHistograms(images, bins=4, cells=2)(batch_of(images)).view(4, 2, 2)
    assert found.sum((1, 2)).argmax() == bin_  # four bins of half a turn: 0, 45, 90, 135 degrees
    assert found.norm() == pytest.approx(1, abs=1e-5)
    others = [b for b in range(4) if b != bin_]
    assert found[others].abs().max() < 1e-5


def test_gradients_do_not_depend_on_brightness_contrast_or_the_unit_of_a_band():
    g = torch.Generator().manual_seed(1)
    images = torch.rand(3, 2, 24, 24, generator=g)
    plain = GradientHistograms(images)(batch_of(images))
    scaled = images * torch.tensor([10_000.0, 3.0]).view(1, 2, 1, 1) + 500
    torch.testing.assert_close(GradientHistograms(scaled)(batch_of(scaled)), plain, atol=2e-3, rtol=0)


def test_images_without_any_edge_have_finite_features():
    flat = torch.full((2, 3, 8, 8), 9.0)
    assert GradientHistograms(flat)(batch_of(flat)).abs().max() == 0
