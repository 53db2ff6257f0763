"""A dataset of images of any size, from each of which a square is cut as it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F

from ecotone.data.base import Dataset
from ecotone.modalities import Modality
from ecotone.randomness import SampleRandom, stream_seeds
from ecotone.samples import Image, Sample


class Cropped:
    """Squares of one size, so that images of many sizes fit into one batch at their own GSD.

    ``dataset[i]`` is the square in the middle of the image; training reads a random one through ``draw``. A side that
    is too short is padded with pixels that are not observed.

    Args:
        dataset: Images of any size; the images of one sample are aligned pixel by pixel.
        size: Side of the squares in pixels.
    """

    def __init__(self, dataset: Dataset, size: int) -> None:
        self.info, self._dataset, self._size = dataset.info, dataset, size

    def __len__(self) -> int:
        return len(self._dataset)

    @property
    def modalities(self) -> Mapping[str, Modality]:
        return getattr(self._dataset, "modalities", {})

    def keys(self) -> Sequence[str]:
        return self._dataset.keys()

    def labels(self) -> Sequence[str]:
        return self._dataset.labels()

    def splits(self) -> Sequence[str]:
        return self._dataset.splits()

    def __getitem__(self, index: int) -> Sample:
        return self._cut(self._dataset[index], 0.5, 0.5)

    def draw(self, index: int, seed: int) -> Sample:
        """The sample with a square at a place that depends on the seed alone."""
        # A stream of its own: the sample's own stream belongs to the transforms.
        down, right = SampleRandom(stream_seeds(seed, 0, torch.tensor([0]))).uniform(2)[0].tolist()
        return self._cut(self._dataset[index], down, right)

    def _cut(self, sample: Sample, down: float, right: float) -> Sample:
        return replace(sample, images={role: cut(i, self._size, down, right) for role, i in sample.images.items()})


def cut(image: Image, size: int, down: float, right: float) -> Image:
    """The square of an image at a place from 0 (top, left) to 1 (bottom, right), both as fractions of the free way."""
    short = [max(0, size - n) for n in image.pixels.shape[-2:]]
    pixels, valid = image.pixels, image.valid
    if any(short):
        valid = torch.ones_like(pixels[:, 0], dtype=torch.bool) if valid is None else valid
        top, left = int(short[0] * down), int(short[1] * right)
        edges = (left, short[1] - left, top, short[0] - top)
        pixels, valid = F.pad(pixels, edges), F.pad(valid, edges)
    top, left = (
        min(int((n - size + 1) * place), n - size) for n, place in zip(pixels.shape[-2:], (down, right), strict=True)
    )
    window = (..., slice(top, top + size), slice(left, left + size))
    return replace(image, pixels=pixels[window], valid=None if valid is None else valid[window])
