"""A dataset whose decoded pixels are kept in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ecotone.data.base import Dataset, modalities_of
from ecotone.errors import DataError
from ecotone.modalities import Modality
from ecotone.samples import Image, Sample

Shape = tuple[str, torch.Size, torch.dtype]  # role, shape and type of an image's pixels


class Cached:
    """Every sample read once; the pixels lie in memory that worker processes share, however they are started.

    Args:
        dataset: The dataset; a sample that cannot be read raises its DataError again whenever it is asked for.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.info, self._dataset = dataset.info, dataset
        self._keys, self._labels, self._splits = dataset.keys(), dataset.labels(), dataset.splits()
        self._samples: list[Sample | DataError] = []
        self._places: list[dict[str, tuple[Shape, int]]] = []
        pixels: dict[Shape, list[Tensor]] = {}
        for index in range(len(dataset)):
            try:
                sample = dataset[index]
            except DataError as error:
                self._samples.append(error)
                self._places.append({})
                continue
            self._places.append({role: _keep(pixels, role, image) for role, image in sample.images.items()})
            self._samples.append(replace(sample, images={r: _without(i) for r, i in sample.images.items()}))
        self._pixels = {shape: torch.stack(found).share_memory_() for shape, found in pixels.items()}

    def __len__(self) -> int:
        return len(self._samples)

    def keys(self) -> Sequence[str]:
        return self._keys

    def labels(self) -> Sequence[str]:
        return self._labels

    def splits(self) -> Sequence[str]:
        return self._splits

    @property
    def modalities(self) -> Mapping[str, Modality]:
        return modalities_of(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self._samples[index]
        if isinstance(sample, DataError):
            raise sample
        images = {}
        for role, (shape, row) in self._places[index].items():
            images[role] = replace(sample.images[role], pixels=self._pixels[shape][row])
        return replace(sample, images=images)


def _keep(pixels: dict[Shape, list[Tensor]], role: str, image: Image) -> tuple[Shape, int]:
    shape = (role, image.pixels.shape, image.pixels.dtype)
    rows = pixels.setdefault(shape, [])
    rows.append(image.pixels)
    return shape, len(rows) - 1


def _without(image: Image) -> Image:
    return replace(image, pixels=image.pixels[..., :0, :0].clone())
