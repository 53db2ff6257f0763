"""Target rasters: the class of every pixel, read beside the image that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ecotone.data.base import Dataset, modalities_of
from ecotone.data.listing import MANIFEST, inside
from ecotone.errors import DataError
from ecotone.modalities import Modality
from ecotone.rasters import Declaration, read_declaration
from ecotone.rasters.declared import DATASET_FILE
from ecotone.rasters.files import open_file, readable
from ecotone.samples import Image, Sample
from ecotone.sensors import unit

TARGET = "target"  # the role of a target raster, so that crops and flips move it with the image
IGNORED = 255  # a pixel of which nobody says what is there


class Masks:
    """A dataset for segmentation whose samples carry their target raster as an image in the role ``target``.

    Its pixels (1, 1, H, W), uint8, are class indices, and 255 where there is no label or no observed pixel.

    Args:
        dataset: Images whose labels are paths of target rasters of the same size.
        folder: The dataset's folder.
    """

    def __init__(self, dataset: Dataset, folder: str | Path) -> None:
        self.info, self._dataset, self._folder = dataset.info, dataset, Path(folder)
        self._labels = dataset.labels()
        file = self._folder / DATASET_FILE
        self._declared = read_declaration(file) if file.is_file() else Declaration()

    def __len__(self) -> int:
        return len(self._dataset)

    @property
    def modalities(self) -> Mapping[str, Modality]:
        return modalities_of(self._dataset)

    def keys(self) -> Sequence[str]:
        return self._dataset.keys()

    def labels(self) -> Sequence[str]:
        return self._labels

    def splits(self) -> Sequence[str]:
        return self._dataset.splits()

    def __getitem__(self, index: int) -> Sample:
        sample, label = self._dataset[index], self._labels[index]
        if not label:
            raise DataError(f"{sample.key} in {self._folder} has no target raster", mend=f"Name it in {MANIFEST}.")
        image = next(iter(sample.images.values()))
        codes = read_mask(self._folder / inside(label, self._folder / MANIFEST), self.info.classes, self._declared)
        if codes.shape != image.pixels.shape[-2:]:
            raise DataError(
                f"{label} has another size than {sample.key}",
                found=" x ".join(map(str, codes.shape)),
                expected=" x ".join(map(str, image.pixels.shape[-2:])),
            )
        pixels = torch.from_numpy(codes)[None, None]
        if image.valid is not None:
            pixels = torch.where(image.valid.unsqueeze(1), pixels, IGNORED).to(torch.uint8)
        target = Image(pixels, ("class",), unit("class"), image.gsd, image.effective_gsd)
        return replace(sample, images={**sample.images, TARGET: target})


def with_masks(dataset: Dataset, folder: str | Path) -> Dataset:
    """The dataset with its target rasters if it is for segmentation, else as it is."""
    return Masks(dataset, folder) if dataset.info.task == "segmentation" else dataset


def read_mask(path: Path, classes: Sequence[str], declared: Declaration) -> NDArray[np.uint8]:
    """(H, W) class indices of a target raster, 255 where it says nothing.

    A pixel says nothing if it holds the declared ``ignore`` value (255 if none is declared) or the file's no-data.

    Raises:
        DataError: The file cannot be read, has several channels, or holds a value that is no class.
    """
    if not path.is_file():
        raise DataError(f"there is no target raster {path}")
    with readable(str(path)), open_file(path) as file:
        if file.count != 1:
            raise DataError(f"{path} is no target raster", found=f"{file.count} channels", expected="one of classes")
        stored, nodata = file.read(1), file.nodata
    values = declared.class_values or tuple(range(len(classes)))
    codes = np.full(stored.shape, IGNORED, np.uint8)
    for index, value in enumerate(values):
        codes[stored == value] = index
    silent = {IGNORED if declared.ignore is None else declared.ignore, nodata}
    odd = np.setdiff1d(stored[codes == IGNORED], [v for v in silent if v is not None])
    if len(odd):
        raise DataError(
            f"{path} holds a value that is no class",
            found=f"{odd[0]:g}",
            expected=", ".join(f"{v} ({name})" for v, name in zip(values, classes, strict=True)),
            mend="Map values to names in classes of dataset.yaml, or name the value to be left out as ignore.",
        )
    return codes
