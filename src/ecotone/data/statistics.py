"""Mean and standard deviation of each band, for normalisers."""

from __future__ import annotations

import torch

from ecotone.data.base import Dataset
from ecotone.errors import DataError
from ecotone.sensors import unit as find_unit


def band_statistics(
    dataset: Dataset, *, sample: int = 2000, seed: int = 0, unit: str | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and (population) standard deviation of each band over the valid, finite pixels of a random sample.

    Args:
        dataset: Images of one role, alike in bands and unit.
        sample: How many samples are read at most; broken ones are left out.
        seed: Chooses them.
        unit: The unit of the result; None for the dataset's own.

    Returns:
        One mean and one standard deviation per band, in float64.

    Raises:
        DataError: No valid pixel was found, or a band does not vary.
    """
    chosen = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:sample].sort().values
    count = total = squares = torch.zeros(())
    shift: torch.Tensor | None = None
    bands: tuple[str, ...] = ()
    for index in chosen.tolist():
        try:
            image = next(iter(dataset[index].images.values()))
        except DataError:
            continue  # the stream that trains on the data records broken samples
        values = image.unit.to(find_unit(unit) if unit else image.unit, image.pixels.double())
        good = values.isfinite() if image.valid is None else values.isfinite() & image.valid.unsqueeze(1)
        values = torch.where(good, values, 0.0).transpose(0, 1).flatten(1)
        good = good.transpose(0, 1).flatten(1)
        if shift is None:  # near the mean, so that squares of small differences are summed
            shift = values.sum(1, keepdim=True) / good.sum(1, keepdim=True).clamp_min(1)
            count = total = squares = torch.zeros(len(values), dtype=torch.float64)
            bands = image.bands
        rest = torch.where(good, values - shift, 0.0)
        count, total, squares = count + good.sum(1), total + rest.sum(1), squares + rest.square().sum(1)
    if shift is None or not bool((count > 0).all()):
        raise DataError(f"no valid pixels were found in {dataset.info.name}", found=f"{len(chosen)} samples")
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt()
    if not bool((std > 0).all()):
        flat = ", ".join(b for b, s in zip(bands, std.tolist(), strict=True) if s == 0)
        raise DataError(f"the bands {flat} of {dataset.info.name} hold one value everywhere", expected="varying pixels")
    return tuple((mean + shift.squeeze(1)).tolist()), tuple(std.tolist())
