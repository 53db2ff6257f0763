"""Made-up images that a model accepts, to try it without data."""

from __future__ import annotations

import torch
from torch import Tensor

from ecotone.inputs import InputSpec, RoleSpec, TwoSigmaToUnit, ZScore, ZScoreByLevel
from ecotone.samples import Batch, ImageBatch
from ecotone.sensors import unit

TYPICAL = {"uint8": (0.0, 255.0), "reflectance": (0.0, 0.5), "reflectance x 10000": (0.0, 5000.0)}


def synthetic_batch(spec: InputSpec, size: int, count: int = 2, *, level: str | None = None, seed: int = 0) -> Batch:
    """Noise in every role of a spec, of the values that its statistics expect, with a GSD in its range.

    Args:
        spec: What the model accepts.
        size: Side in pixels.
        count: Images.
        level: Processing level of the images, where the model has statistics by level.
        seed: Of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    images = {role: _image(accepted, size, count, level, generator) for role, accepted in spec.roles.items()}
    return Batch(images, keys=("",) * count, seeds=torch.zeros(count, dtype=torch.int64))


def level_of(spec: RoleSpec) -> str | None:
    """A processing level that the model accepts; None where it does not matter."""
    normaliser = spec.normaliser
    return spec.level or (next(iter(normaliser.levels)) if isinstance(normaliser, ZScoreByLevel) else None)


def _image(spec: RoleSpec, size: int, count: int, level: str | None, generator: torch.Generator) -> ImageBatch:
    level = level or level_of(spec)
    noise = torch.rand(count, len(spec.bands), size, size, generator=generator)
    low, high = spec.gsd or (1.0, 10.0)
    return ImageBatch.of(
        _values(spec, noise, level),
        bands=spec.bands,
        unit=unit(spec.unit),
        gsd=torch.linspace(low, high, count),
        level=level,
        sensor=spec.sensor,
    )


def _values(spec: RoleSpec, noise: Tensor, level: str | None) -> Tensor:
    """Noise in [0, 1] to what the role's statistics, or else its unit, expect."""
    normaliser = spec.normaliser
    if isinstance(normaliser, ZScoreByLevel):
        normaliser = normaliser.levels[str(level)]
    if isinstance(normaliser, ZScore | TwoSigmaToUnit):
        mean, std = (torch.tensor(v)[:, None, None] for v in (normaliser.mean, normaliser.std))
        return mean + std * (2 * noise - 1)
    low, high = TYPICAL.get(spec.unit, (0.0, 1.0))
    return low + (high - low) * noise
