"""A dataset whose images all have one size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ecotone.data import Dataset
from ecotone.modalities import Modality
from ecotone.samples import Sample
from ecotone.sensors import unit
from ecotone.transforms import resize_sample


class Resized:
    """Square images of one size: what has another is resized (anti-aliased bicubic), and its GSD with it.

    Args:
        dataset: Images of any size.
        size: Side in pixels.
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
        sample = self._dataset[index]
        done = resize_sample(sample, (self._size, self._size), "bicubic")
        return done if done is sample else _as_stored(done, sample)


def _as_stored(done: Sample, before: Sample) -> Sample:
    """8-bit pixels stay 8 bits, so that resized and other images share a batch."""
    images = {}
    for role, image in done.images.items():
        pixels, stored = image.pixels, before.images[role].pixels.dtype
        if image.unit == unit("uint8"):
            pixels = pixels.clamp(0, 255)
        images[role] = replace(image, pixels=pixels if stored.is_floating_point else pixels.round().to(stored))
    return replace(done, images=images)
