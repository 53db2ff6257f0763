"""Random augmentations of a batch; each sample draws from its own stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from ecotone.errors import InputError
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch, ImageBatch
from ecotone.transforms.geometry import crop_resize
from ecotone.transforms.resample import Filter


class Transform(BaseModel, ABC):
    """A named augmentation with its options, as recipes write it; applied alike to every role of a sample."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @abstractmethod
    def apply(self, image: ImageBatch, random: SampleRandom) -> ImageBatch:
        """Transform the images of one role."""

    def __call__(self, batch: Batch, random: SampleRandom) -> Batch:
        # Every role replays the same numbers, so that aligned modalities stay aligned.
        images = {}
        for role, image in batch.images.items():
            replay = random.fork()
            images[role] = self.apply(image, replay)
        random.skip_to(replay)
        return replace(batch, images=images)


class RandomCrop(Transform):
    """A square crop at a random place. The GSD stays."""

    name: Literal["random-crop"] = "random-crop"
    size: int = Field(ge=1)

    def apply(self, image: ImageBatch, random: SampleRandom) -> ImageBatch:
        height, width = image.size
        if min(height, width) < self.size:
            raise InputError("the image is smaller than the crop", found=f"{height} x {width}", expected=self.size)
        place = random.uniform(2)
        top = (place[:, 0] * (height - self.size + 1)).long()
        left = (place[:, 1] * (width - self.size + 1)).long()
        return _gather_crops(image, top, left, self.size)


class RandomResizedCrop(Transform):
    """A square crop of random area, resized: the target view of Scale-MAE, whose GSD varies with the crop.

    Attributes:
        size: Side of the output in pixels.
        scale: Smallest and largest area of the crop, as fractions of the largest centred square.
        filter: Resampling filter.
        inclusive_corners: Count one pixel less for the GSD of a crop, as the official Scale-MAE does, which takes the
            distance of inclusive corners for a width: 0.2 to 0.5 % too small.
    """

    name: Literal["random-resized-crop"] = "random-resized-crop"
    size: int = Field(ge=1)
    scale: tuple[float, float] = (0.2, 1.0)
    filter: Filter = "bicubic"
    inclusive_corners: bool = False

    def apply(self, image: ImageBatch, random: SampleRandom) -> ImageBatch:
        height, width = image.size
        draw = random.uniform(3)
        low, high = self.scale
        side = ((low + draw[:, 0] * (high - low)).sqrt() * min(height, width)).round().clamp_min(1)
        left = (draw[:, 1] * (width - side + 1)).floor()
        top = (draw[:, 2] * (height - side + 1)).floor()
        return self.view(image, torch.stack([left, top, side, side], 1))

    def view(self, image: ImageBatch, boxes: Tensor) -> ImageBatch:
        """The view of these boxes (N, 4): left, top, width, height in pixels."""
        made = crop_resize(image, boxes, (self.size, self.size), self.filter)
        if not self.inclusive_corners:
            return made
        width = boxes[:, 2].float()
        return replace(made, gsd=made.gsd * (width - 1) / width)


class Flip(Transform):
    """Mirror left to right and top to bottom, each with probability one half.

    Attributes:
        vertical: Also top to bottom; imagery seen from above has no upright, but the published recipes leave it.
    """

    name: Literal["flip"] = "flip"
    vertical: bool = True

    def apply(self, image: ImageBatch, random: SampleRandom) -> ImageBatch:
        draw = random.uniform(2) < 0.5
        axes = (-1, -2) if self.vertical else (-1,)
        for axis, chosen in zip(axes, draw.unbind(1), strict=False):
            image = _map(image, lambda x, axis=axis, chosen=chosen: _where(chosen, x.flip(axis), x))
        return image


class QuarterTurn(Transform):
    """Turn by 0, 90, 180 or 270 degrees; imagery seen from above has no upright."""

    name: Literal["quarter-turn"] = "quarter-turn"

    def apply(self, image: ImageBatch, random: SampleRandom) -> ImageBatch:
        if image.size[0] != image.size[1]:
            raise InputError("quarter turns need square images", found=f"{image.size[0]} x {image.size[1]}")
        turns = (random.uniform() * 4).long()
        for k in (1, 2, 3):
            image = _map(image, lambda x, k=k: _where(turns == k, torch.rot90(x, k, (-2, -1)), x))
        return image


AnyTransform = Annotated[RandomCrop | RandomResizedCrop | Flip | QuarterTurn, Field(discriminator="name")]


def _map(image: ImageBatch, change) -> ImageBatch:  # noqa: ANN001
    """Change pixels and validity alike."""
    valid = None if image.valid is None else change(image.valid)
    return replace(image, pixels=change(image.pixels), valid=valid)


def _where(chosen: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(chosen.view(-1, *[1] * (yes.ndim - 1)), yes, no)


def _gather_crops(image: ImageBatch, top: Tensor, left: Tensor, size: int) -> ImageBatch:
    pixel = torch.arange(size, device=top.device)
    rows, cols = (top[:, None] + pixel), (left[:, None] + pixel)
    n = torch.arange(len(top), device=top.device)[:, None, None]

    def crop(x: Tensor) -> Tensor:
        # Advanced indices on both sides of a slice put the batch first: (N, size, size, ...).
        picked = x.movedim((-2, -1), (1, 2))[n, rows[:, :, None], cols[:, None, :]]
        return picked.movedim((1, 2), (-2, -1)).contiguous()

    return _map(image, crop)
