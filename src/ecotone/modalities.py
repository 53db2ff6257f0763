"""Modality: one thing that is known about a place and that a method may predict."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ecotone.inputs import ZScore, ZScoreByLevel


class Modality(BaseModel):
    """What a value of this name means, where it lies in a sample, and how it is standardised.

    A pixel modality is an image of the sample, of role ``role``: NaN is missing; categorical pixels are class
    indices in unit ``class``, -1 is missing. An image modality is a target of the sample, of name ``role``: K numbers
    with NaN for missing, or one class index with -1 for missing.

    Attributes:
        name: The word used in recipes and losses, such as ``sentinel2`` or ``biome``.
        role: Role of the image, or name of the target, that holds it.
        scope: One value per pixel, or per image.
        kind: Measured numbers, or classes.
        channels: Band names of a continuous modality; class names of a categorical one.
        unit: Unit that the statistics of a continuous modality are in; None for plain numbers.
        normaliser: How a continuous modality becomes a target; None leaves it as it is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    role: str
    scope: Literal["pixel", "image"]
    kind: Literal["continuous", "categorical"]
    channels: tuple[str, ...] = Field(min_length=1)
    unit: str | None = None
    normaliser: ZScore | ZScoreByLevel | None = Field(default=None, discriminator="kind")

    @model_validator(mode="after")
    def _consistent(self) -> Modality:
        if self.normaliser is not None and self.kind == "categorical":
            raise ValueError(f"modality {self.name}: classes are not normalised")
        if self.normaliser is not None and self.normaliser.bands() != len(self.channels):
            raise ValueError(f"modality {self.name}: {len(self.channels)} channels and other statistics")
        return self
