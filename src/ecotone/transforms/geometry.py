"""GSD-aware geometry: a crop keeps the GSD, a resize changes it, an enlargement adds no detail."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ecotone.errors import InputError
from ecotone.samples import ImageBatch, Sample, collate
from ecotone.transforms.resample import Filter, resample, touched


def crop_resize(image: ImageBatch, boxes: Tensor, size: tuple[int, int], filter: Filter = "bicubic") -> ImageBatch:
    """Crop every image to its own box and resize the crop to one size.

    Args:
        image: N images.
        boxes: (N, 4) left, top, width, height in pixels, inside the image; a negative width or height mirrors.
        size: Height and width of the output.
        filter: See ``ecotone.transforms.resample``.

    Returns:
        Float pixels; GSD times crop size over output size (the geometric mean of both axes); the effective GSD never
        falls below what it was. Class indices are those of the nearest pixel, whatever the filter, because a mean of
        two classes is none. NaN stays where the filter meets it, in its own channel.
    """
    _check_boxes(image, boxes)
    if image.unit.quantity == "class":
        filter = "nearest"
    pixels, valid = image.pixels.float(), image.valid
    if valid is not None:  # what was not observed may be anything, NaN included, and must not spread
        pixels = torch.where(valid.unsqueeze(2), pixels, 0.0)
        valid = ~touched(~valid, boxes, size, filter)
    missing = pixels.isnan()
    if bool(missing.any()):  # 0 x NaN is NaN: a matrix product would carry it to whole rows and columns
        gone = touched(missing, boxes, size, filter)
        pixels = resample(pixels.nan_to_num(0.0), boxes, size, filter).masked_fill(gone, float("nan"))
    else:
        pixels = resample(pixels, boxes, size, filter)
    shrink = (boxes[:, 2].abs() / size[1] * boxes[:, 3].abs() / size[0]).sqrt().float()
    gsd = image.gsd * shrink
    return replace(image, pixels=pixels, gsd=gsd, effective_gsd=torch.maximum(image.effective_gsd, gsd), valid=valid)


def resize(image: ImageBatch, size: tuple[int, int], filter: Filter = "area") -> ImageBatch:
    """Resize whole images to one size."""
    height, width = image.size
    box = torch.tensor([0.0, 0.0, width, height], device=image.pixels.device)
    return crop_resize(image, box.expand(len(image.pixels), 4), size, filter)


def resize_sample(sample: Sample, size: tuple[int, int], filter: Filter = "area") -> Sample:
    """One sample with every image resized; its GSD follows. A sample of that size comes back as it is."""
    if all(i.pixels.shape[-2:] == size for i in sample.images.values()):
        return sample
    batch, images = collate([sample]), {}
    for role, image in sample.images.items():
        new = resize(batch[role], size, filter)
        gsd = None if image.gsd is None else float(new.gsd[0])
        effective = None if image.effective_gsd is None else float(new.effective_gsd[0])
        valid = None if new.valid is None else new.valid[0]
        images[role] = replace(image, pixels=new.pixels[0], gsd=gsd, effective_gsd=effective, valid=valid)
    return replace(sample, images=images)


def downsample(image: ImageBatch, ratio: int, filter: str = "area") -> ImageBatch:
    """Reduce height and width by a whole ratio.

    Args:
        image: N images whose sides are multiples of ``ratio``.
        ratio: Factor by which the GSD grows.
        filter: ``area`` (the mean of the pixels), ``bilinear`` (anti-aliased) or ``bilinear-aligned`` (Scale-MAE's
            input view: no anti-aliasing, aligned corners).

    Raises:
        InputError: The size is not a multiple of the ratio.
    """
    height, width = image.size
    if height % ratio or width % ratio:
        raise InputError(
            "the image does not divide by the ratio", found=f"{height} x {width}", expected=f"multiples of {ratio}"
        )
    if ratio == 1:
        return image
    size = (height // ratio, width // ratio)
    if image.unit.quantity == "class":
        return resize(image, size)
    flat = image.pixels.float().flatten(0, 1)
    if filter == "area":
        small = F.avg_pool2d(flat, ratio)
    else:
        aligned = filter == "bilinear-aligned"
        small = F.interpolate(flat, size, mode="bilinear", align_corners=aligned, antialias=not aligned)
    valid = None if image.valid is None else F.avg_pool2d(image.valid.float(), ratio) > 0.999
    gsd = image.gsd * ratio
    return replace(
        image,
        pixels=small.unflatten(0, image.pixels.shape[:2]),
        gsd=gsd,
        effective_gsd=torch.maximum(image.effective_gsd, gsd),
        valid=valid,
    )


def _check_boxes(image: ImageBatch, boxes: Tensor) -> None:
    height, width = image.size
    right, bottom = boxes[:, 0] + boxes[:, 2].abs(), boxes[:, 1] + boxes[:, 3].abs()
    inside = (boxes[:, :2] >= 0).all() and (right <= width).all() and (bottom <= height).all()
    if not inside or not (boxes[:, 2:].abs() >= 1).all():
        raise InputError("a crop box leaves the image", expected=f"boxes of at least one pixel in {width} x {height}")
