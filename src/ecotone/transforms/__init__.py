"""Transforms that know the GSD: crop, resize, flip, turn, on whole batches."""

from ecotone.transforms.augment import AnyTransform, Flip, QuarterTurn, RandomCrop, RandomResizedCrop, Transform
from ecotone.transforms.geometry import crop_resize, downsample, resize, resize_sample
from ecotone.transforms.resample import Filter, resample

__all__ = [
    "AnyTransform",
    "Filter",
    "Flip",
    "QuarterTurn",
    "RandomCrop",
    "RandomResizedCrop",
    "Transform",
    "crop_resize",
    "downsample",
    "resample",
    "resize",
    "resize_sample",
]
