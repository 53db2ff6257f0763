"""Floors that count: values of each band, and directions of edges. For any number of bands in any unit."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ecotone.evaluation.floors import raw_pixels
from ecotone.samples import Batch

COLOURS, GRADIENTS = "colour histograms", "gradient histograms"


class ColourHistograms:
    """The share of an image's pixels between quantiles of each band (Swain and Ballard, IJCV 1991, band by band).

    Args:
        images: (M, C, H, W) train images in the dataset's unit; their quantiles are the edges, so no range is assumed.
        bins: Intervals of each band.
    """

    def __init__(self, images: Tensor, bins: int = 16) -> None:
        bands = images.transpose(0, 1).flatten(1)
        some = bands[:, :: max(1, bands.shape[1] // 2**18)].sort(1).values  # torch.quantile takes no more than 2**24
        at = torch.linspace(0, some.shape[1] - 1, bins + 1)[1:-1].round().long()
        self.edges, self.bins = some[:, at].contiguous(), bins

    def __call__(self, batch: Batch) -> Tensor:
        """(N, C * bins) shares; those of each band sum to one."""
        pixels = raw_pixels(batch)
        n, c = pixels.shape[:2]
        flat = pixels.flatten(2).transpose(0, 1).reshape(c, -1)
        which = torch.searchsorted(self.edges, flat).view(c, n, -1).transpose(0, 1)
        counts = torch.zeros(n, c, self.bins).scatter_add_(2, which, torch.ones_like(which, dtype=torch.float32))
        return (counts / which.shape[2]).flatten(1)


class GradientHistograms:
    """Histograms of oriented gradients (Dalal and Triggs, CVPR 2005) over a grid of cells, normalised as one block.

    Central differences; at each pixel the band of the largest gradient, bands in units of their train spread; votes by
    magnitude, shared between the two nearest of ``bins`` directions in half a turn; L2-Hys: clipped at 0.2.

    Args:
        images: (M, C, H, W) train images in the dataset's unit.
        bins: Directions.
        cells: Cells on each side of the grid.
    """

    def __init__(self, images: Tensor, bins: int = 9, cells: int = 4) -> None:
        std = images.std((0, 2, 3), keepdim=True)
        self.std, self.bins, self.cells = torch.where(std > 1e-8, std, 1.0), bins, cells

    def __call__(self, batch: Batch) -> Tensor:
        """(N, bins * cells * cells)."""
        pixels = F.pad(raw_pixels(batch) / self.std, (1, 1, 1, 1), mode="replicate")
        dx = pixels[..., 1:-1, 2:] - pixels[..., 1:-1, :-2]
        dy = pixels[..., 2:, 1:-1] - pixels[..., :-2, 1:-1]
        magnitude, band = torch.hypot(dx, dy).max(1, keepdim=True)
        angle = torch.atan2(dy.gather(1, band), dx.gather(1, band)) / math.pi * self.bins
        low = angle.floor()
        share = angle - low
        votes = torch.zeros(len(pixels), self.bins, *magnitude.shape[-2:])
        votes.scatter_add_(1, low.long() % self.bins, magnitude * (1 - share))
        votes.scatter_add_(1, (low.long() + 1) % self.bins, magnitude * share)
        found = F.adaptive_avg_pool2d(votes, self.cells).flatten(1)
        return F.normalize(F.normalize(found, dim=1).clamp_max(0.2), dim=1)
