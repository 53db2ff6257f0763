"""Mixup (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019) on raw batches, one mixture for each image."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ecotone.randomness import SampleRandom
from ecotone.samples import Batch, ImageBatch


def mix(batch: Batch, wanted: Tensor, random: SampleRandom, mixup: float, cutmix: float) -> tuple[Batch, Tensor]:
    """Blend or paste the next image of the batch into some, and their targets in the same proportion.

    An image keeps at least half of itself (the proportion is uniform in [0.5, 1]), so that its GSD stays its own.

    Args:
        batch: Raw images in a unit that may be averaged.
        wanted: (N, K) targets.
        random: One stream for each image.
        mixup: Share of images that are blended.
        cutmix: Share of images that get a square.
    """
    if not mixup + cutmix:
        return batch, wanted
    draw = random.uniform(4)
    blends, cuts = draw[:, 0] < mixup, draw[:, 0] >= 1 - cutmix
    own = 1 - draw[:, 1] / 2
    images = {}
    for role, image in batch.images.items():
        inside = _square(image.size, 1 - own, draw[:, 2], draw[:, 3])
        weight = torch.where(blends.view(-1, 1, 1), own.view(-1, 1, 1), 1.0).expand_as(inside)
        images[role] = _blend(image, torch.where(cuts.view(-1, 1, 1) & inside, 0.0, weight))
    share = torch.where(blends | cuts, own, 1.0)[:, None]
    return replace(batch, images=images), share * wanted + (1 - share) * wanted.roll(1, 0)


def _square(size: tuple[int, int], area: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """(N, H, W) bool: rectangles of these shares of the area, in the proportions of the image, wholly within it."""
    side, sides = area.sqrt(), []
    for n, place in zip(size, (down, right), strict=True):
        centres = (torch.arange(n, device=area.device) + 0.5) / n
        start = (place * (1 - side))[:, None]
        sides.append((centres >= start) & (centres < start + side[:, None]))
    return sides[0][:, :, None] & sides[1][:, None, :]


def _blend(image: ImageBatch, weight: Tensor) -> ImageBatch:
    """Own pixels times the weight (N, H, W), plus the next image's times the rest; both must be observed."""
    weight = weight[:, None]
    pixels = image.pixels.float()
    other, valid = pixels.roll(1, 0), image.valid
    if valid is not None:
        pixels, other = (torch.where(v.unsqueeze(2), p, 0.0) for v, p in ((valid, pixels), (valid.roll(1, 0), other)))
        valid = (valid | (weight == 0)) & (valid.roll(1, 0) | (weight == 1))
    return replace(image, pixels=torch.lerp(other, pixels, weight[:, :, None]), valid=valid)
