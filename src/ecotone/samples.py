"""Image, Sample and Batch: pixels that carry their bands, unit and ground sample distance wherever they go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import torch
from torch import Tensor

from ecotone.errors import DataError
from ecotone.sensors import Unit


@dataclass(frozen=True)
class Place:
    """Where a sample lies: longitude and latitude in degrees (WGS 84), and its bounds in its own CRS."""

    lon: float
    lat: float
    crs: str | None = None
    bounds: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Image:
    """One sensor at one place, at one or more dates.

    Attributes:
        pixels: (T, C, H, W), any dtype, in ``unit``.
        bands: C band names, in the order of the channels.
        unit: Unit of the pixels.
        gsd: Metres per pixel; None when neither the file nor its owner says.
        effective_gsd: Metres of detail really present; up-sampling lowers ``gsd``, not this. Defaults to ``gsd``.
        sensor: Name of the sensor in the registry.
        valid: (T, H, W) bool, True where observed; None means everywhere.
        times: T acquisition times, or empty.
        level: Processing level, such as ``L2A``.
    """

    pixels: Tensor
    bands: tuple[str, ...]
    unit: Unit
    gsd: float | None = None
    effective_gsd: float | None = None
    sensor: str | None = None
    valid: Tensor | None = None
    times: tuple[datetime | None, ...] = ()
    level: str | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4:
            raise DataError("an image needs the shape (T, C, H, W)", found=tuple(self.pixels.shape))
        if self.pixels.shape[1] != len(self.bands):
            raise DataError(
                "the number of channels does not match the band names",
                found=f"{self.pixels.shape[1]} channels",
                expected=f"{len(self.bands)} ({', '.join(self.bands)})",
            )
        if self.gsd is not None and not self.gsd > 0:
            raise DataError("the GSD must be above zero", found=f"{self.gsd} m")
        if self.effective_gsd is None:
            object.__setattr__(self, "effective_gsd", self.gsd)


@dataclass(frozen=True)
class Sample:
    """Images of one place by role (``optical``, ``sentinel1``, ``dem`` …), its targets and its key."""

    images: Mapping[str, Image]
    key: str
    targets: Mapping[str, Any] = field(default_factory=dict)
    place: Place | None = None


@dataclass(frozen=True)
class ImageBatch:
    """The images of one role in a batch.

    Attributes:
        pixels: (N, T, C, H, W).
        gsd: (N,) float32 metres per pixel; NaN where unknown.
        effective_gsd: (N,) float32 metres; NaN where unknown.
        valid: (N, T, H, W) bool, or None when everything is observed.
        present: (N,) bool; False where the sample lacks this role (its pixels are zero).
        bands: Names of the C channels.
        unit: Unit of the pixels.
        levels: N processing levels, or empty where none is known; one batch may mix them.
        sensor: Name of the sensor.
    """

    pixels: Tensor
    gsd: Tensor
    effective_gsd: Tensor
    present: Tensor
    bands: tuple[str, ...]
    unit: Unit
    valid: Tensor | None = None
    levels: tuple[str | None, ...] = ()
    sensor: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[-2], self.pixels.shape[-1]

    def to(self, device: torch.device | str) -> ImageBatch:
        return replace(
            self,
            pixels=self.pixels.to(device),
            gsd=self.gsd.to(device),
            effective_gsd=self.effective_gsd.to(device),
            present=self.present.to(device),
            valid=None if self.valid is None else self.valid.to(device),
        )

    @classmethod
    def of(
        cls,
        pixels: Tensor,
        *,
        bands: Sequence[str],
        unit: Unit,
        gsd: float | Tensor | None = None,
        valid: Tensor | None = None,
        level: str | None = None,
        sensor: str | None = None,
    ) -> ImageBatch:
        """A batch from bare pixels (N, C, H, W) or (N, T, C, H, W) and one GSD, or one per image, in metres."""
        pixels = pixels.unsqueeze(1) if pixels.ndim == 4 else pixels
        n = len(pixels)
        metres = torch.as_tensor(float("nan") if gsd is None else gsd, dtype=torch.float32, device=pixels.device)
        metres = metres.expand(n)
        return cls(
            pixels=pixels,
            gsd=metres,
            effective_gsd=metres,
            present=torch.ones(n, dtype=torch.bool, device=pixels.device),
            bands=tuple(bands),
            unit=unit,
            valid=valid,
            levels=(level,) * n if level else (),
            sensor=sensor,
        )


@dataclass(frozen=True)
class Batch:
    """Samples stacked by role.

    Attributes:
        images: Role -> ImageBatch.
        keys: N sample keys.
        seeds: (N,) int64, one random stream per sample; a function of (seed, epoch, index) in training.
        targets: Name -> (N, …) tensor, or a list of N values that do not stack.
        places: N places, or empty.
    """

    images: Mapping[str, ImageBatch]
    keys: tuple[str, ...]
    seeds: Tensor
    targets: Mapping[str, Any] = field(default_factory=dict)
    places: tuple[Place | None, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, role: str) -> ImageBatch:
        return self.images[role]

    def to(self, device: torch.device | str) -> Batch:
        targets = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in self.targets.items()}
        images = {role: image.to(device) for role, image in self.images.items()}
        return replace(self, images=images, seeds=self.seeds.to(device), targets=targets)

    def part(self, start: int, stop: int) -> Batch:
        """Samples ``start`` to ``stop``, the latter not included."""
        cut = slice(start, stop)
        images = {
            role: replace(
                i,
                pixels=i.pixels[cut],
                gsd=i.gsd[cut],
                effective_gsd=i.effective_gsd[cut],
                present=i.present[cut],
                valid=None if i.valid is None else i.valid[cut],
                levels=i.levels[cut],
            )
            for role, i in self.images.items()
        }
        targets = {name: values[cut] for name, values in self.targets.items()}
        return Batch(images, self.keys[cut], self.seeds[cut], targets, self.places[cut])

    def first(self, n: int) -> Batch:
        """The first n samples."""
        return self.part(0, n)

    def replace_images(self, **images: ImageBatch) -> Batch:
        """The same batch with some roles replaced."""
        return replace(self, images={**self.images, **images})


def collate(samples: Sequence[Sample], seeds: Sequence[int] | None = None) -> Batch:
    """Stack samples into a batch. Nothing is resized: images of one role must share size, bands and unit.

    Args:
        samples: N samples.
        seeds: N random-stream seeds; zeros when not given.

    Raises:
        DataError: Two samples differ in what must be equal; both keys are named.
    """
    if not samples:
        raise DataError("cannot make a batch of no samples")
    roles = dict.fromkeys(role for s in samples for role in s.images)
    return Batch(
        images={role: _stack(role, samples) for role in roles},
        keys=tuple(s.key for s in samples),
        seeds=torch.tensor(list(seeds) if seeds is not None else [0] * len(samples), dtype=torch.int64),
        targets={name: _stack_targets([s.targets[name] for s in samples]) for name in samples[0].targets},
        places=tuple(s.place for s in samples) if any(s.place for s in samples) else (),
    )


def _stack(role: str, samples: Sequence[Sample]) -> ImageBatch:
    have = [s for s in samples if role in s.images]
    first = have[0].images[role]
    for s in have[1:]:
        _check_equal(role, have[0].key, first, s.key, s.images[role])
    blank = torch.zeros_like(first.pixels)
    images = [s.images.get(role) for s in samples]
    valid = None
    if any(i is not None and i.valid is not None for i in images) or len(have) < len(samples):
        shape = (first.pixels.shape[0], *first.pixels.shape[2:])
        full, none = torch.ones(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
        valid = torch.stack([none if i is None else full if i.valid is None else i.valid for i in images])
    nan = float("nan")
    return ImageBatch(
        pixels=torch.stack([blank if i is None else i.pixels for i in images]),
        gsd=torch.tensor([nan if i is None or i.gsd is None else i.gsd for i in images]),
        effective_gsd=torch.tensor([nan if i is None or i.effective_gsd is None else i.effective_gsd for i in images]),
        present=torch.tensor([i is not None for i in images]),
        bands=first.bands,
        unit=first.unit,
        valid=valid,
        levels=tuple(i.level if i else None for i in images) if any(i.level for i in images if i) else (),
        sensor=first.sensor,
    )


def _check_equal(role: str, key0: str, a: Image, key1: str, b: Image) -> None:
    for what, left, right in (
        ("shape (T, C, H, W)", tuple(a.pixels.shape), tuple(b.pixels.shape)),
        ("bands", a.bands, b.bands),
        ("unit", a.unit.name, b.unit.name),
    ):
        if left != right:
            raise DataError(
                f"the {role} images of {key1} and {key0} cannot share a batch: their {what} differ",
                found=right,
                expected=left,
                mend="Crop or resize them first, or read them in batches of one.",
            )


def _stack_targets(values: list[Any]) -> Any:
    if all(isinstance(v, Tensor) for v in values):
        return torch.stack(values) if len({v.shape for v in values}) == 1 else values
    return torch.tensor(values) if all(isinstance(v, (int, float)) for v in values) else values
