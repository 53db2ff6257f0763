"""Cropping and resizing a whole batch at once, each image with its own box, as two batched matrix products.

A separable resize is ``Y X Z^T``, where row i of Y holds the filter weights of output row i. Building Y and Z from the
boxes makes crop, flip, anti-aliasing and resize one operation, on CPU or GPU. The weights are those of
``torch.nn.functional.interpolate`` (tests compare them).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Filter = Literal["area", "nearest", "bilinear", "bicubic", "bilinear-aligned", "bicubic-aligned"]


def resample(pixels: Tensor, boxes: Tensor, size: tuple[int, int], filter: Filter) -> Tensor:
    """Crop each image to its box and resize the crop.

    Args:
        pixels: (N, ..., H, W) float.
        boxes: (N, 4) left, top, width, height in pixels; a negative width or height mirrors the crop.
        size: Height and width of the output.
        filter: ``area`` averages; ``nearest`` takes the pixel in the middle of each output cell; ``bilinear`` and
            ``bicubic`` are anti-aliased when they shrink; the ``-aligned`` ones sample without anti-aliasing, with the
            corner pixels' centres aligned.

    Returns:
        (N, ..., *size).
    """
    lead = pixels.shape[1:-2]
    flat = pixels.reshape(len(pixels), -1, *pixels.shape[-2:])
    rows = axis_weights(boxes[:, 1], boxes[:, 3], pixels.shape[-2], size[0], filter).to(flat.dtype)
    cols = axis_weights(boxes[:, 0], boxes[:, 2], pixels.shape[-1], size[1], filter).to(flat.dtype)
    out = rows[:, None] @ flat @ cols[:, None].transpose(-1, -2)
    return out.view(len(pixels), *lead, *size)


def touched(mask: Tensor, boxes: Tensor, size: tuple[int, int], filter: Filter) -> Tensor:
    """Which pixels of ``resample``'s output draw on any marked pixel, however little.

    Args:
        mask: (N, ..., H, W) bool.
        boxes: As for ``resample``.
        size: As for ``resample``.
        filter: As for ``resample``.

    Returns:
        (N, ..., *size) bool.
    """
    flat = mask.reshape(len(mask), -1, *mask.shape[-2:]).float()
    rows = axis_weights(boxes[:, 1], boxes[:, 3], mask.shape[-2], size[0], filter).abs()
    cols = axis_weights(boxes[:, 0], boxes[:, 2], mask.shape[-1], size[1], filter).abs()
    share = rows[:, None] @ flat @ cols[:, None].transpose(-1, -2)
    return (share > 1e-6).view(len(mask), *mask.shape[1:-2], *size)


def axis_weights(start: Tensor, length: Tensor, total: int, out: int, filter: Filter) -> Tensor:
    """(N, out, total) filter weights along one axis; rows sum to one.

    Args:
        start: (N,) first pixel of each crop.
        length: (N,) pixels of each crop; negative to mirror it.
        total: Pixels of the image.
        out: Pixels of the output.
        filter: See ``resample``.
    """
    start, pixels = start.double(), length.abs().double()
    if filter == "area":
        weights = _area(start, pixels, total, out)
    elif filter == "nearest":
        weights = _nearest(start, pixels, total, out)
    elif filter.endswith("aligned"):
        weights = _aligned(start, pixels, total, out, filter)
    else:
        weights = _antialiased(start, pixels, total, out, filter)
    mirrored = weights.flip(1)
    return torch.where((length < 0)[:, None, None], mirrored, weights).float()


def _area(start: Tensor, length: Tensor, total: int, out: int) -> Tensor:
    """Overlap of each output cell with each pixel."""
    step = (length / out)[:, None, None]
    low = start[:, None, None] + torch.arange(out, device=start.device)[:, None] * step
    pixel = torch.arange(total, device=start.device)
    overlap = (torch.minimum(low + step, pixel + 1.0) - torch.maximum(low, pixel.double())).clamp_min(0)
    return overlap / overlap.sum(-1, keepdim=True)


def _nearest(start: Tensor, length: Tensor, total: int, out: int) -> Tensor:
    """One at the pixel in which the middle of each output cell lies."""
    middle = start[:, None] + (torch.arange(out, device=start.device) + 0.5) * (length / out)[:, None]
    return torch.nn.functional.one_hot(middle.long().clamp_max(total - 1), total).double()


def _antialiased(start: Tensor, length: Tensor, total: int, out: int, filter: Filter) -> Tensor:
    """The filter widened by the reduction, cut off at the crop's edge and normalised."""
    step = (length / out)[:, None, None]
    widen = step.clamp_min(1)
    centre = start[:, None, None] + (torch.arange(out, device=start.device)[:, None] + 0.5) * step
    pixel = torch.arange(total, device=start.device)
    inside = (pixel >= start[:, None, None]) & (pixel < (start + length)[:, None, None])
    distance = (pixel + 0.5 - centre).abs() / widen
    # torch's anti-aliased bicubic is Pillow's, with a = -0.5; without anti-aliasing it takes -0.75.
    weights = (1 - distance).clamp_min(0) if filter == "bilinear" else _cubic(distance, -0.5)
    weights = weights * inside
    return weights / weights.sum(-1, keepdim=True)


def _aligned(start: Tensor, length: Tensor, total: int, out: int, filter: Filter) -> Tensor:
    """Point samples between the centres of the crop's first and last pixel; taps beyond the crop repeat its edge."""
    step = (length - 1) / max(out - 1, 1)
    position = torch.arange(out, device=start.device) * step[:, None]
    base = position.floor()
    taps = torch.tensor([0, 1] if filter.startswith("bilinear") else [-1, 0, 1, 2], device=start.device)
    index = base[..., None] + taps
    distance = (index - position[..., None]).abs()
    values = (1 - distance).clamp_min(0) if filter.startswith("bilinear") else _cubic(distance, -0.75)
    index = torch.minimum(index.clamp_min(0), (length - 1)[:, None, None]) + start[:, None, None]
    weights = torch.zeros(len(start), out, total, dtype=torch.float64, device=start.device)
    return weights.scatter_add_(2, index.long(), values)


def _cubic(x: Tensor, a: float) -> Tensor:
    """Keys' cubic convolution kernel at distances x >= 0 (Keys 1981)."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
