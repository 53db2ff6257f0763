"""Recast convolutions give what torch's own give, and the same gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ecotone.nn import convolutions
from ecotone.nn.convolutions import Enlarge, PairConv, Pointwise, in_strips, split_pairs

SIDES = st.integers(1, 7)
WIDTHS = st.integers(1, 5)


def twin(ours: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """Torch's own convolution with copies of the parameters."""
    kind = nn.ConvTranspose2d if isinstance(ours, nn.ConvTranspose2d) else nn.Conv2d
    theirs = kind(
        ours.in_channels, ours.out_channels, ours.kernel_size, ours.stride, padding=ours.padding, groups=ours.groups
    )
    theirs.load_state_dict(ours.state_dict())
    return theirs.double()


def assert_same(forward, ours: nn.Module, height: int, width: int) -> None:
    """``forward`` maps (N, H, W, C) to (N, H', W', D) through ``ours``."""
    theirs = twin(ours)
    x = torch.randn(2, height, width, ours.in_channels, dtype=torch.float64)
    ours, ours_x, theirs_x = ours.double(), x.clone().requires_grad_(), x.clone().requires_grad_()
    out = forward(ours_x)
    expected = theirs(theirs_x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(out, expected)
    upstream = torch.randn_like(expected)
    out.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(ours_x.grad, theirs_x.grad)
    for ours_p, theirs_p in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours_p.grad, theirs_p.grad)


@settings(max_examples=15, deadline=None)
@given(height=SIDES, width=SIDES, channels=WIDTHS, out=WIDTHS)
def test_pointwise_is_a_1x1_convolution(height, width, channels, out):
    layer = Pointwise(channels, out)
    assert_same(layer, layer, height, width)


@settings(max_examples=15, deadline=None)
@given(height=SIDES, width=SIDES, channels=WIDTHS, out=WIDTHS, factor=st.integers(1, 4))
def test_enlarge_is_a_transposed_convolution(height, width, channels, out, factor):
    layer = Enlarge(channels, out, factor)
    assert_same(layer, layer, height, width)


@settings(max_examples=15, deadline=None)
@given(height=SIDES, width=SIDES, channels=WIDTHS, pairs=WIDTHS, factor=st.integers(1, 4))
def test_the_pair_of_maps_interleaves_to_the_whole(height, width, channels, pairs, factor):
    layer = Enlarge(channels, 2 * pairs, factor)
    assert_same(lambda x: torch.stack(layer.pair(x), -1).flatten(-2), layer, height, width)


@settings(max_examples=15, deadline=None)
@given(height=SIDES, width=SIDES, groups=WIDTHS)
def test_pairs_of_depthwise_convolutions_are_a_grouped_one(height, width, groups):
    layer = PairConv(groups)
    assert_same(lambda x: layer(split_pairs(x)), layer, height, width)


@pytest.mark.parametrize("layer", [Pointwise(6, 4), Enlarge(6, 4, 2), PairConv(3)], ids=lambda m: type(m).__name__)
def test_initialisation_is_torch_s(layer):
    theirs = twin(layer)
    torch.manual_seed(0)
    layer.reset_parameters()
    torch.manual_seed(0)
    theirs.float().reset_parameters()
    for name, parameter in theirs.named_parameters():
        assert torch.equal(parameter, layer.get_parameter(name))


def test_strips_give_the_whole_map_and_its_gradients(monkeypatch):
    monkeypatch.setattr(convolutions, "STRIP", 7)
    layer = nn.Sequential(nn.GELU(), nn.Linear(3, 5), nn.GELU())

    def run(apply) -> list[Tensor]:
        x = torch.linspace(-2, 2, 2 * 4 * 5 * 3).view(2, 4, 5, 3).requires_grad_()
        layer.zero_grad()
        out = apply(x)
        out.square().sum().backward()
        assert x.grad is not None
        return [out.detach(), x.grad, *(p.grad.clone() for p in layer.parameters() if p.grad is not None)]

    for ours, expected in zip(run(lambda x: in_strips(layer, x)), run(layer), strict=True):
        torch.testing.assert_close(ours, expected)


def test_strips_keep_one_map_for_the_backward_pass(monkeypatch):
    monkeypatch.setattr(convolutions, "STRIP", 8)
    layer = nn.Sequential(nn.GELU(), nn.Linear(4, 64), nn.GELU(), nn.Linear(64, 4))
    x = torch.randn(1, 8, 8, 4, requires_grad=True)
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
        in_strips(layer, x)
    assert kept <= x.numel()
