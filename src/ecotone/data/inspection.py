"""Looking at a dataset: its classes, sizes and values, the files that are broken, and a contact sheet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PIL

from ecotone.data.base import Dataset, modalities_of
from ecotone.data.labels import split_label
from ecotone.data.masks import IGNORED, TARGET
from ecotone.data.missing import MissingShares
from ecotone.errors import DataError
from ecotone.files import replacing
from ecotone.samples import Image, Sample
from ecotone.sensors import sensor

PIXELS = 4096  # drawn from each image for the quantiles
CELL, COLUMNS, GAP = 96, 8, 4  # of the contact sheet, in pixels and cells
YELLOW = (255, 220, 0)
QUANTILES = {"min": 0.0, "p2": 0.02, "median": 0.5, "p98": 0.98, "max": 1.0}


def survey(
    dataset: Dataset, *, sample: int = 500, follow: Callable[[Sequence[int]], Iterable[int]] = iter
) -> dict[str, Any]:
    """The facts of a dataset, as they are told and as its files show them.

    Args:
        dataset: The dataset.
        sample: How many samples are read, spread evenly over the dataset.
        follow: Goes through the samples and may show progress.

    Returns:
        The fields of ``info``, then ``samples``, ``splits``, ``classes`` (class -> split -> count), and of the samples
        read: ``read``, ``sizes``, ``gsd_range``, ``valid_share``, ``values`` (band -> statistics), ``modalities``
        (name -> what it is and the share that is missing, see ``MissingShares``) and ``broken`` (key -> reason).
    """
    count = len(dataset)
    chosen = sorted({round(i * (count - 1) / max(min(sample, count) - 1, 1)) for i in range(min(sample, count))})
    images, broken, gaps = [], {}, MissingShares(modalities_of(dataset))
    sizes: Counter[str] = Counter()
    for index in follow(chosen):
        try:
            sample_read = dataset[index]
        except DataError as error:
            broken[dataset.keys()[index]] = str(error)
            continue
        gaps.add(sample_read)
        image = next(iter(sample_read.images.values()))
        sizes[" x ".join(map(str, image.pixels.shape[2:]))] += 1
        images.append(_glance(image))
    gsds = [g for g in (i["gsd"] for i in images) if g]
    return {
        **{k: v for k, v in asdict(dataset.info).items() if k != "classes"},
        "samples": count,
        "splits": dict(Counter(s for s in dataset.splits() if s)),
        "classes": class_counts(dataset),
        "read": len(chosen),
        "sizes": dict(sizes.most_common()),
        "gsd_range": [min(gsds), max(gsds)] if gsds else None,
        "valid_share": float(np.mean([i["valid"] for i in images])) if images else None,
        "values": _values(images),
        "modalities": gaps.table(),
        "broken": broken,
    }


def contact_sheet(dataset: Dataset, path: str | Path, *, cells: int = 48) -> Path:
    """Write a PNG of samples spread evenly over the dataset, each stretched between its 2nd and 98th percentile.

    Raises:
        DataError: Nothing could be read, or the file cannot be written.
    """
    count = len(dataset)
    pictures = []
    for index in sorted({i * count // min(cells, count) for i in range(min(cells, count))}):
        try:
            pictures.append(thumbnail(dataset[index]))
        except DataError:
            continue  # the survey lists broken samples
    return paste_sheet(pictures, path, f"no sample of {dataset.info.name} could be read")


def paste_sheet(pictures: Sequence[PIL.Image], path: str | Path, none: str) -> Path:
    """Write a PNG of small pictures, eight in a row.

    Raises:
        DataError: There is no picture, for which ``none`` is said; or the file cannot be written.
    """
    if not pictures:
        raise DataError(none)
    rows = -(-len(pictures) // COLUMNS)
    step = CELL + GAP
    sheet = PIL.new("RGB", (COLUMNS * step + GAP, rows * step + GAP), "white")
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (GAP + number % COLUMNS * step, GAP + number // COLUMNS * step))
    with replacing(Path(path)) as temporary:
        sheet.save(temporary, format="PNG")
    return Path(path)


def thumbnail(sample: Sample) -> PIL.Image:
    """A small picture of a sample: red, green and blue where its sensor has them, else its first band.

    The classes of a target raster are outlined.
    """
    image = next(iter(sample.images.values()))
    known = [sensor(image.sensor).common(c) if image.sensor else None for c in ("red", "green", "blue")]
    names = [band.name if band else None for band in known]
    shown = [image.bands.index(n) for n in names if n in image.bands]
    values = image.pixels[0, shown if len(shown) == 3 else [0, 0, 0]].float().nan_to_num(0)
    if image.unit.name != "uint8":
        flat = values.flatten()[:: max(1, values.numel() // PIXELS)]
        low, high = torch.quantile(flat, 0.02), torch.quantile(flat, 0.98)
        values = (values - low) / (high - low).clamp_min(1e-6) * 255
    picture = _square(values.clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy(), PIL.Resampling.BOX)
    return _outlined(picture, sample.images[TARGET]) if TARGET in sample.images else picture


def _square(values: NDArray[np.uint8], filter: PIL.Resampling) -> PIL.Image:
    """The middle of an array (H, W) or (H, W, 3) as a picture of one cell."""
    picture = PIL.fromarray(values)
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.resize((CELL, CELL), filter, box=(left, top, left + side, top + side))


def _outlined(picture: PIL.Image, target: Image) -> PIL.Image:
    """A picture with yellow lines between the classes of its target raster, darker where there is no label."""
    codes = np.array(_square(target.pixels[0, 0].numpy(), PIL.Resampling.NEAREST))
    shown = np.array(picture)
    shown[codes == IGNORED] //= 3
    shown[:, 1:][codes[:, 1:] != codes[:, :-1]] = YELLOW
    shown[1:][codes[1:] != codes[:-1]] = YELLOW
    return PIL.fromarray(shown)


def class_counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Class -> split -> samples; empty for a task without classes."""
    found: dict[str, Counter[str]] = {name: Counter() for name in dataset.info.classes}
    if dataset.info.task not in ("classification", "multilabel"):
        return {}
    for label, split in zip(dataset.labels(), dataset.splits(), strict=True):
        for name in split_label(label) if dataset.info.task == "multilabel" else [label]:
            found[name][split] += 1
    return {name: dict(counts) for name, counts in found.items()}


def _glance(image: Image) -> dict[str, Any]:
    pixels = image.pixels[0].flatten(1)
    step = max(1, pixels.shape[1] // PIXELS)
    valid = image.valid[0].flatten() if image.valid is not None else torch.ones(pixels.shape[1], dtype=torch.bool)
    taken = pixels[:, ::step][:, valid[::step]].double().numpy()
    return {"gsd": image.gsd, "valid": float(valid.float().mean()), "bands": image.bands, "values": taken}


def _values(images: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Quantiles, mean and standard deviation of each band over the valid pixels looked at."""
    if not images or any(i["bands"] != images[0]["bands"] for i in images):
        return {}
    joined: NDArray[np.float64] = np.concatenate([i["values"] for i in images], 1)
    table = {}
    for band, values in zip(images[0]["bands"], joined, strict=True):
        finite = values[np.isfinite(values)]
        if len(finite):
            numbers = {name: float(np.quantile(finite, q)) for name, q in QUANTILES.items()}
            table[band] = {**numbers, "mean": float(finite.mean()), "std": float(finite.std())}
    return table
