"""InputSpec: what a model accepts, checked and enforced before any forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from ecotone.errors import InputError
from ecotone.samples import Batch, ImageBatch
from ecotone.sensors import Unit, sensor, unit
from ecotone.sensors.band import plain_band_name

SCHEMA_VERSION = 1
GSD_SLACK = 0.01  # relative; a UTM grid of 10 m and its reprojection differ by less
NORMALISED = Unit("normalised", "model input")  # what leaves InputSpec.prepare; it converts to nothing else


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ZScore(_Strict):
    """``(x - mean) / std``, one mean and one std per band, in the role's unit."""

    kind: Literal["z-score"] = "z-score"
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]

    def apply(self, x: Tensor, image: ImageBatch) -> Tensor:
        return (x - _per_band(self.mean, x)) / _per_band(self.std, x)

    def bands(self) -> int | None:
        return len(self.mean)

    def select(self, channels: Sequence[int]) -> ZScore:
        """The statistics of these channels, in this order."""
        return ZScore(mean=tuple(self.mean[c] for c in channels), std=tuple(self.std[c] for c in channels))


class ZScoreByLevel(_Strict):
    """A z-score whose statistics depend on the processing level, such as L1C and L2A (MMEarth)."""

    kind: Literal["z-score-by-level"] = "z-score-by-level"
    levels: dict[str, ZScore]

    def apply(self, x: Tensor, image: ImageBatch) -> Tensor:
        """Standardise (N, T, C, H, W) values, each sample by the statistics of its own level.

        Raises:
            InputError: A sample that is present has no level, or one without statistics.
        """
        levels = image.levels or (None,) * len(x)
        unknown = [level for level, there in zip(levels, image.present.tolist(), strict=True) if there]
        unknown = [level for level in unknown if level not in self.levels]
        if unknown:
            raise InputError(
                "the model's statistics do not cover this processing level",
                found=unknown[0],
                expected=" or ".join(self.levels),
                mend="Declare the level of the data, or use a model that was trained on it.",
            )
        first = next(iter(self.levels.values()))
        each = [self.levels.get(str(level), first) for level in levels]  # an absent image has no level and no pixels
        mean, std = (x.new_tensor([getattr(e, name) for e in each])[:, None, :, None, None] for name in ("mean", "std"))
        return (x - mean) / std

    def bands(self) -> int | None:
        return len(next(iter(self.levels.values())).mean)

    def select(self, channels: Sequence[int]) -> ZScoreByLevel:
        """The statistics of these channels, in this order."""
        return ZScoreByLevel(levels={level: s.select(channels) for level, s in self.levels.items()})


class MinMaxPerImage(_Strict):
    """Each band of each image stretched to [0, 1] by the extremes of its observed pixels (SpectralGPT)."""

    kind: Literal["min-max-per-image"] = "min-max-per-image"

    def apply(self, x: Tensor, image: ImageBatch) -> Tensor:
        seen = None if image.valid is None else image.valid.unsqueeze(2)
        low = (x if seen is None else x.masked_fill(~seen, float("inf"))).amin((-2, -1), keepdim=True)
        high = (x if seen is None else x.masked_fill(~seen, float("-inf"))).amax((-2, -1), keepdim=True)
        return (x - low) / (high - low).clamp_min(1e-12)

    def bands(self) -> int | None:
        return None


class TwoSigmaToUnit(_Strict):
    """``mean - 2 std .. mean + 2 std`` clipped to 0..255, rounded down to 8 bits, divided by 255 (SatMAE, SeCo)."""

    kind: Literal["two-sigma-to-unit"] = "two-sigma-to-unit"
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]

    def apply(self, x: Tensor, image: ImageBatch) -> Tensor:
        mean, std = _per_band(self.mean, x), _per_band(self.std, x)
        return (((x - mean + 2 * std) / (4 * std)) * 255).clamp(0, 255).floor() / 255

    def bands(self) -> int | None:
        return len(self.mean)


class Identity(_Strict):
    """The values as they are, in the role's unit."""

    kind: Literal["identity"] = "identity"

    def apply(self, x: Tensor, image: ImageBatch) -> Tensor:
        return x

    def bands(self) -> int | None:
        return None


Normaliser = Annotated[ZScore | ZScoreByLevel | MinMaxPerImage | TwoSigmaToUnit | Identity, Field(discriminator="kind")]


class RoleSpec(_Strict):
    """What a model accepts in one role.

    Attributes:
        sensor: The sensor whose bands these are.
        bands: Band names in the order of the model's channels.
        unit: Unit the normaliser's statistics are in; input in another unit of the quantity is converted.
        normaliser: A named normaliser with its statistics.
        fill: What stands in for a band that the image lacks: nothing (an error), or the band's training mean, which
            is zero after a z-score. Pixels that are not valid are set to zero after normalisation in any case.
        gsd: Smallest and largest metres per pixel that the model was trained for; None means any.
        gsd_required: The forward pass needs the GSD.
        level: Processing level the model was trained on; None means any.
    """

    sensor: str
    bands: tuple[str, ...] = Field(min_length=1)
    unit: str
    normaliser: Normaliser
    fill: Literal["error", "mean"] = "error"
    gsd: tuple[float, float] | None = None
    gsd_required: bool = False
    level: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> RoleSpec:
        unit(self.unit)
        count = self.normaliser.bands()
        if count is not None and count != len(self.bands):
            raise ValueError(f"{len(self.bands)} bands but statistics for {count}")
        return self

    def prepare(self, role: str, image: ImageBatch) -> ImageBatch:
        """Check, convert the unit, put the bands in order, normalise.

        Returns:
            Float32 pixels (N, T, C, H, W) with C = len(bands), unit ``normalised``, invalid pixels zero.

        Raises:
            InputError: The image does not meet this spec.
        """
        channels = self._match(role, image)
        self._check_gsd(role, image)
        other = next((level for level in image.levels if level and self.level and level != self.level), None)
        if other:
            raise InputError(
                f"the {role} images have another processing level than the model was trained on",
                found=f"{other} with bands {', '.join(image.bands)}",
                expected=f"{self.level} with bands {', '.join(self.bands)}",
                mend="Use imagery of that level, or pretrain a model on this one.",
            )
        have = [c for c in channels if c is not None]
        in_order = have == list(range(len(image.bands)))
        picked = image.pixels if in_order else image.pixels[:, :, have]
        values = image.unit.to(unit(self.unit), picked)
        if len(have) < len(channels):
            values = self._fill(values, channels)
        if picked.is_floating_point():  # integers always are finite
            self._check_finite(role, image, values)
        pixels = self.normaliser.apply(values, image).float()  # rasters may hold float64
        if image.valid is not None:
            pixels = torch.where(image.valid.unsqueeze(2), pixels, 0.0)
        return replace(image, pixels=pixels, bands=self.bands, unit=NORMALISED)

    def _match(self, role: str, image: ImageBatch) -> list[int | None]:
        """For each band of the model, its channel in the image, or None where it is to be filled."""
        if image.unit == NORMALISED:
            raise InputError(f"the {role} images are normalised already", expected=f"values in {self.unit}")
        known = {plain_band_name(n): i for i, n in enumerate(image.bands)}
        declared = sensor(self.sensor)
        channels = [
            next((known[k] for k in map(plain_band_name, (n, *declared.band(n).aliases)) if k in known), None)
            for n in self.bands
        ]
        missing = [n for n, c in zip(self.bands, channels, strict=True) if c is None]
        if missing and (self.fill == "error" or len(missing) == len(self.bands)):
            raise InputError(
                f"the {role} images lack {_count(missing)} that the model needs: {', '.join(missing)}",
                found=f"{_count(image.bands)} ({', '.join(image.bands)})",
                expected=f"{self.sensor} with {', '.join(self.bands)}",
                mend="Name the bands with --sensor or in dataset.yaml, or use a model for these bands.",
            )
        self._check_wavelengths(role, image, channels)
        return channels

    def _check_wavelengths(self, role: str, image: ImageBatch, channels: Sequence[int | None]) -> None:
        """Two sensors may use one name for different bands: B4 is red on Sentinel-2, near infrared on Landsat 7."""
        if image.sensor in (None, self.sensor):
            return
        theirs = {plain_band_name(b.name): b for b in sensor(str(image.sensor)).bands}
        for name, channel in zip(self.bands, channels, strict=True):
            mine = sensor(self.sensor).band(name)
            other = theirs.get(plain_band_name(image.bands[channel])) if channel is not None else None
            if other is None or mine.wavelength is None or other.wavelength is None:
                continue
            if abs(mine.wavelength - other.wavelength) > max(mine.bandwidth or 0, other.bandwidth or 0) / 2:
                raise InputError(
                    f"band {name} of the {role} images is another band than the model's",
                    found=f"{image.sensor}: {other.wavelength:g} nm",
                    expected=f"{self.sensor}: {mine.wavelength:g} nm",
                    mend="Use a model for this sensor.",
                )

    def _fill(self, values: Tensor, channels: Sequence[int | None]) -> Tensor:
        if not isinstance(self.normaliser, ZScore):
            raise InputError(
                "fill: mean needs a normaliser that knows the mean", found=self.normaliser.kind, expected="z-score"
            )
        present = iter(values.unbind(2))
        mean = self.normaliser.mean
        blank = torch.empty_like(values[:, :, 0])
        columns = [blank.new_full(blank.shape, mean[i]) if c is None else next(present) for i, c in enumerate(channels)]
        return torch.stack(columns, 2)

    def _check_finite(self, role: str, image: ImageBatch, values: Tensor) -> None:
        finite = values.isfinite()
        if image.valid is not None:
            finite = finite | ~image.valid.unsqueeze(2)
        if not bool(finite.all()):
            sample, _, band = (~finite).any(-1).any(-1).nonzero()[0].tolist()
            raise InputError(
                f"the {role} images hold NaN or infinite values where they are said to be observed",
                found=f"{int((~finite).sum())} values, the first in image {sample} of the batch, {self.bands[band]}",
                expected="finite numbers, or a validity mask that leaves them out",
                mend="Declare the no-data value of the files.",
            )

    def _check_gsd(self, role: str, image: ImageBatch) -> None:
        known = image.gsd[image.present & image.gsd.isfinite()]
        if self.gsd_required and len(known) < int(image.present.sum()):
            raise InputError(
                f"the model needs the GSD of every {role} image and some have none",
                expected="metres per pixel",
                mend="Give --gsd, set gsd in dataset.yaml, or use georeferenced files.",
            )
        if self.gsd is None or not len(known):
            return
        low, high = float(known.min()), float(known.max())
        if low < self.gsd[0] * (1 - GSD_SLACK) or high > self.gsd[1] * (1 + GSD_SLACK):
            raise InputError(
                f"the {role} images have a GSD outside the range that the model was trained for",
                found=f"{low:g} m" if low == high else f"{low:g} to {high:g} m",
                expected=f"{self.gsd[0]:g} to {self.gsd[1]:g} m",
                mend="Resample the images, or widen input.gsd in the model's ecotone.yaml if you accept the risk.",
            )


class InputSpec(_Strict):
    """What a model accepts: stored inside every checkpoint, checked before any forward pass.

    Attributes:
        roles: Role -> RoleSpec.
        size_multiple: Height and width must be multiples of this many pixels.
        min_size: Smallest height and width in pixels.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    roles: dict[str, RoleSpec] = Field(min_length=1)
    size_multiple: int = Field(default=1, ge=1)
    min_size: int = Field(default=1, ge=1)

    @property
    def optical(self) -> RoleSpec:
        """The first role; single-role encoders read this one."""
        return next(iter(self.roles.values()))

    def prepare(self, batch: Batch) -> Batch:
        """Check every role of the batch, convert its unit, order its bands and normalise it.

        Raises:
            InputError: A role is missing, or does not meet its spec.
        """
        images = {}
        for role, spec in self.roles.items():
            if role not in batch.images:
                raise InputError(
                    f"the batch has no {role} images", found=", ".join(batch.images), expected=", ".join(self.roles)
                )
            self._check_size(role, batch[role].size)
            images[role] = spec.prepare(role, batch[role])
        return replace(batch, images=images)

    def _check_size(self, role: str, size: tuple[int, int]) -> None:
        if min(size) < self.min_size or any(n % self.size_multiple for n in size):
            raise InputError(
                f"the {role} images have a size that the model cannot take",
                found=f"{size[0]} x {size[1]} pixels",
                expected=f"multiples of {self.size_multiple}, at least {self.min_size}",
                mend="Crop, pad or resize them.",
            )


def rgb8(image: ImageBatch, *, reflectance: tuple[float, float] = (0.0, 0.3)) -> ImageBatch:
    """The named display conversion: red, green and blue reflectance stretched linearly to 8-bit brightness.

    Brightness that is 8-bit already is not stretched; of a sensor with more bands, red, green and blue are taken.

    Args:
        image: Reflectance, or 8-bit brightness, of a sensor with red, green and blue bands.
        reflectance: Fractions shown as 0 and 255; values outside are clipped.

    Returns:
        Bands R, G, B in unit ``uint8`` (float values, not rounded).

    Raises:
        InputError: The image is neither, or its sensor has no such bands.
    """
    shown = image.unit == unit("uint8")
    if shown and set(image.bands) <= {"R", "G", "B"}:
        return image
    names = {plain_band_name(n): i for i, n in enumerate(image.bands)}
    bands = [sensor(image.sensor).common(c) for c in ("red", "green", "blue")] if image.sensor else [None]
    order = [names.get(plain_band_name(b.name)) if b else None for b in bands]
    if not (shown or image.unit.quantity == "reflectance") or len(order) != 3 or None in order:
        raise InputError(
            "the display conversion rgb8 needs reflectance or 8-bit values with red, green and blue of a known sensor",
            found=f"{image.sensor or 'no sensor'}, bands {', '.join(image.bands)}, unit {image.unit}",
        )
    pixels = image.pixels[:, :, order]
    if not shown:
        low, high = reflectance
        pixels = ((image.unit.to(unit("reflectance"), pixels) - low) / (high - low)).clamp(0, 1) * 255
    return replace(image, pixels=pixels, bands=("R", "G", "B"), unit=unit("uint8"), sensor="rgb", levels=())


CONVERSIONS = {"rgb8": rgb8}


def _per_band(values: Sequence[float], x: Tensor) -> Tensor:
    return torch.tensor(values, dtype=x.dtype, device=x.device).view(-1, 1, 1)


def _count(names: Sequence[str]) -> str:
    return f"{len(names)} band" + ("s" if len(names) != 1 else "")
