"""What a batch says of a modality: the values that a method is to predict, with what is missing marked."""

from __future__ import annotations

import torch
from torch import Tensor

from ecotone.errors import InputError
from ecotone.modalities import Modality
from ecotone.samples import Batch, ImageBatch
from ecotone.sensors import unit

NAN = float("nan")


def truth(modality: Modality, batch: Batch, size: tuple[int, int]) -> Tensor:
    """The normalised values of a modality, or its class indices.

    Args:
        modality: What is wanted.
        batch: Raw. A modality that none of its samples has is missing everywhere.
        size: Height and width that pixel modalities must have.

    Returns:
        Float32 with NaN for missing, (N, C, H, W) or (N, C); or int64 with -1 for missing, (N, 1, H, W) or (N,).

    Raises:
        InputError: The batch has it in another size, with other channels or with more classes.
    """
    values = _pixels(modality, batch, size) if modality.scope == "pixel" else _vector(modality, batch)
    if modality.kind == "categorical" and values.numel() and int(values.max()) >= len(modality.channels):
        raise InputError(
            f"a class index of {modality.name} is too large",
            found=int(values.max()),
            expected=f"0 to {len(modality.channels) - 1}, or -1 for missing",
        )
    return values


def observed(image: ImageBatch) -> Tensor:
    """(N, 1, H, W) bool, or something that broadcasts to it: what is said to be observed at the first date."""
    present = image.present[:, None, None, None]
    return present if image.valid is None else present & image.valid[:, :1]


def _pixels(modality: Modality, batch: Batch, size: tuple[int, int]) -> Tensor:
    image, continuous = batch.images.get(modality.role), modality.kind == "continuous"
    if image is None:
        return _missing(modality, (len(batch), len(modality.channels) if continuous else 1, *size), batch)
    if image.size != size:
        raise InputError(
            f"the {modality.role} images have another size than those of the encoder", found=image.size, expected=size
        )
    if not continuous:
        labels = image.pixels[:, 0]
        return torch.where(observed(image) & labels.isfinite(), labels, -1).long()
    lacking = [c for c in modality.channels if c not in image.bands]
    if lacking:
        raise InputError(
            f"the {modality.role} images lack channels of {modality.name}: {', '.join(lacking)}",
            found=", ".join(image.bands),
            expected=", ".join(modality.channels),
        )
    pixels = image.pixels[:, :1, [image.bands.index(c) for c in modality.channels]].float()
    if modality.unit is not None:
        pixels = image.unit.to(unit(modality.unit), pixels)
    if modality.normaliser is not None:
        pixels = modality.normaliser.apply(pixels, image)
    return torch.where(observed(image), pixels[:, 0], NAN)


def _vector(modality: Modality, batch: Batch) -> Tensor:
    values = batch.targets.get(modality.role)
    shape = (len(batch), len(modality.channels)) if modality.kind == "continuous" else (len(batch),)
    if values is None:
        return _missing(modality, shape, batch)
    if not isinstance(values, Tensor) or values.shape != shape:
        found = tuple(values.shape) if isinstance(values, Tensor) else "values that do not stack"
        raise InputError(f"the targets {modality.role} have another shape", found=found, expected=shape)
    if modality.kind == "categorical":
        return values.long()
    values = values.float()[:, None, :, None, None]  # a normaliser takes images
    if modality.normaliser is not None:
        values = modality.normaliser.apply(values, next(iter(batch.images.values())))
    return values[:, 0, :, 0, 0]


def _missing(modality: Modality, shape: tuple[int, ...], batch: Batch) -> Tensor:
    nothing = -1 if modality.kind == "categorical" else NAN
    return torch.full(shape, nothing, device=batch.seeds.device)
