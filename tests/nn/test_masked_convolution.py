"""Masked convolution is sparse convolution: packed cells against a site-by-site computation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ecotone.nn.cells import Cells
from ecotone.nn.convnext import GRN, Block, Downsample, InitialConv, Stem, conv2d, reduce2d

Sites = dict[tuple[int, int, int], torch.Tensor]  # (sample, row, column) -> channels, of active sites only


def sparse_conv(conv: torch.nn.Conv2d, sites: Sites, stride: int = 1) -> Sites:
    """A convolution over present neighbours only; at stride 1 the sites stay, else one present below makes a site."""
    k, depthwise = conv.kernel_size[0], conv.groups > 1
    at = {(n, r // stride, c // stride) for n, r, c in sites}
    out = {}
    for n, row, col in at:
        total = conv.bias.clone()
        for y in range(k):
            for x in range(k):
                shift = k // 2 if stride == 1 else 0
                v = sites.get((n, row * stride + y - shift, col * stride + x - shift))
                if v is not None:
                    w = conv.weight[:, :, y, x]
                    total = total + (w[:, 0] * v if depthwise else w @ v)
        out[n, row, col] = total
    return out


def each(sites: Sites, function) -> Sites:
    return {at: function(v) for at, v in sites.items()}


def sparse_grn(grn: GRN, sites: Sites) -> Sites:
    out = {}
    for at, x in sites.items():
        pool = [v for other, v in sites.items() if grn.pooling == "batch" or other[0] == at[0]]
        norm = torch.stack(pool).square().sum(0).sqrt()
        out[at] = grn.gamma * (x * norm / (norm.mean() + grn.eps)) + grn.beta + x
    return out


def sparse_block(block: Block, sites: Sites) -> Sites:
    x = each(sparse_conv(block.dwconv, sites), lambda v: F.gelu(block.pwconv1(block.norm(v))))
    x = each(sparse_grn(block.grn, x), block.pwconv2)
    return {at: sites[at] + x[at] for at in sites}


def sites_of(x: torch.Tensor, cells: Cells) -> Sites:
    """Active sites of packed cells."""
    dense, seen = cells.spread(x), cells.spread(cells.only(torch.ones_like(x[..., :1])))
    return {tuple(at): dense[tuple(at)] for at in seen[..., 0].nonzero().tolist()}


def dense_of(sites: Sites, like: torch.Tensor) -> torch.Tensor:
    out = torch.zeros_like(like)
    for at, v in sites.items():
        out[at] = v
    return out


def filled(module: torch.nn.Module) -> torch.nn.Module:
    """Random values everywhere, also where initialisation puts zeros."""
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return module.double()


@st.composite
def maskings(draw, side: int):
    """Cells of random visible patches, some of them inactive, and values in them."""
    n, rows, cols = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    k = draw(st.integers(1, rows * cols))
    keep = torch.stack([torch.tensor(draw(st.permutations(range(rows * cols)))[:k]) for _ in range(n)])
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    x = torch.randn(n, k * side * side, 3, generator=generator, dtype=torch.float64)
    active = None
    if draw(st.booleans()):
        active = (torch.rand(n, k * side * side, 1, generator=generator) < 0.7).double()
        active[0, 0] = 1
        x = x * active
    return x, Cells(keep, (rows, cols), side, active)


@settings(max_examples=25, deadline=None)
@given(maskings(2), st.sampled_from(["sample", "batch"]))
def test_a_block_on_packed_cells_is_a_sparse_block(masking, pooling):
    x, cells = masking
    torch.manual_seed(0)
    block = filled(Block(3, 1e-3, pooling))
    ours = cells.spread(block(x, cells))
    torch.testing.assert_close(ours, dense_of(sparse_block(block, sites_of(x, cells)), ours))


@settings(max_examples=15, deadline=None)
@given(maskings(4))
def test_stem_and_downsampling_on_packed_cells_are_sparse(masking):
    x, cells = masking
    torch.manual_seed(0)
    first, stem, down = filled(InitialConv(3, 4)), filled(Stem(4, 4, 2, depthwise=True)), filled(Downsample(4, 5))
    sites = sites_of(x, cells)
    half = cells.coarser(2)
    y = first(x, cells)
    ours = cells.spread(y)
    sites = each(sparse_conv(first[0], sites), lambda v: F.gelu(first[1](v)))
    torch.testing.assert_close(ours, dense_of(sites, ours))
    y = half.only(stem(y, cells))
    ours = half.spread(y)
    sites = each(sparse_conv(stem[0], sites, 2), stem[1])
    torch.testing.assert_close(ours, dense_of(sites, ours))
    quarter = half.coarser(2)
    ours = quarter.spread(quarter.only(down(y, half)))
    sites = sparse_conv(down[1], each(sites, down[0]), 2)
    torch.testing.assert_close(ours, dense_of(sites, ours))


@settings(max_examples=20, deadline=None)
@given(maskings(2))
def test_spreading_undoes_packing_and_gradients_follow(masking):
    x, cells = masking
    dense = cells.spread(x)
    torch.testing.assert_close(cells.pack(dense), x)
    assert float(dense.abs().sum()) == pytest.approx(float(x.abs().sum()))
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: cells.pack(cells.spread(v) ** 2), x)


def test_a_map_is_computed_like_packed_cells_that_are_all_visible():
    torch.manual_seed(0)
    block = filled(Block(3))
    x = torch.randn(2, 6, 4, 3, dtype=torch.float64)
    cells = Cells(torch.arange(6).expand(2, -1), (3, 2), 2)
    torch.testing.assert_close(cells.spread(block(cells.pack(x), cells)), block(x))


@pytest.mark.parametrize(
    ("groups", "padding", "size"), [(1, 0, (8, 6)), (1, 1, (10, 6)), (4, 0, (8, 8)), (1, 0, (9, 7))]
)
def test_a_convolution_without_overlap_is_a_matrix_product(groups, padding, size):
    conv = torch.nn.Conv2d(4, 8 if groups == 1 else 4, 2, 2, padding, groups=groups).double()
    x = torch.randn(2, *size, 4, dtype=torch.float64)
    torch.testing.assert_close(reduce2d(conv, x), conv2d(conv, x))


def test_grn_of_a_silent_channel_has_a_gradient():
    x = torch.randn(2, 5, 3)
    x[..., 1] = 0
    x.requires_grad_()
    grn = filled(GRN(3)).float()
    grn(x).sum().backward()
    assert x.grad.isfinite().all()
    silent = torch.zeros(1, 4, 3, requires_grad=True)
    grn(silent).sum().backward()
    assert silent.grad.isfinite().all()
