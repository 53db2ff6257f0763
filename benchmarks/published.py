"""The methods at their published configurations, each beside its literal rendering with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.baselines import Literal
from benchmarks.baselines.mp_mae import LiteralMPMAE
from benchmarks.baselines.scale_mae import LiteralScaleMAE
from benchmarks.baselines.spectral_gpt import LiteralSpectralGPT
from ecotone.encoders import SIZES, ConvNeXt, SpectralViT, ViT
from ecotone.inputs import NORMALISED, Identity, InputSpec, RoleSpec
from ecotone.methods import MAE, MPMAE, Method, ScaleMAE, SpectralGPT
from ecotone.methods.released import mp_mae as released_mp_mae
from ecotone.methods.released import scale_mae as released_scale_mae
from ecotone.methods.released import spectral_gpt as released_spectral_gpt
from ecotone.modalities import Modality
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch, ImageBatch
from ecotone.sensors import unit

UNITS = {"rgb": "uint8", "sentinel2-l2a": "reflectance x 10000"}


@dataclass(frozen=True)
class Setup:
    """A method, its literal rendering if there is one, and a batch for both."""

    ours: Method
    batch: Batch
    literal: Literal | None = None

    def to(self, device: torch.device) -> Setup:
        literal = self.literal and self.literal.to(device)
        return Setup(self.ours.to(device), self.batch.to(device), literal)


def mae(count: int, *, size: str = "base", patch: int = 16, side: int = 224) -> Setup:
    encoder = ViT(_plain("rgb", ("R", "G", "B")), patch=patch, **_vit(size))
    return Setup(MAE(encoder), _batch(count, {"optical": _image(count, encoder.spec, side)}))


def scale_mae(count: int, *, side: int = 448, encoder: dict[str, Any] | None = None, **options: Any) -> Setup:
    """``side`` is the target's; the encoder sees half of it."""
    released, bands = released_scale_mae.RELEASED, ("R", "G", "B")
    vit = ViT(_plain("rgb", bands), **{**released.encoder, **_vit("base"), **(encoder or {})})
    ours = ScaleMAE(vit, **{**released.options, **options})
    return Setup(ours, _batch(count, {"optical": _image(count, vit.spec, side)}), LiteralScaleMAE(ours))


def spectral_gpt(count: int, *, encoder: dict[str, Any] | None = None, **options: Any) -> Setup:
    released = released_spectral_gpt.RELEASED
    bands = released_spectral_gpt.BANDS
    vit = SpectralViT(_plain("sentinel2-l2a", bands), **{**released.encoder, **_vit("base"), **(encoder or {})})
    ours = SpectralGPT(vit, **{**released.options, **options})
    batch = _batch(count, {"optical": _image(count, vit.spec, vit.image_size)})
    return Setup(ours, batch, LiteralSpectralGPT(ours))


def mp_mae(count: int, *, encoder: dict[str, Any] | None = None, **options: Any) -> Setup:
    """Atto on 56 pixels in patches of 8, with all twelve tasks and nothing missing."""
    released, bands = released_mp_mae.RELEASED, released_mp_mae.BANDS
    names = released_mp_mae.ALL
    # The random values below are taken for normalised ones.
    targets = [released_mp_mae.modality(n).model_copy(update={"unit": None}) for n in names]
    settings = {**released.encoder, **released_mp_mae.PRETRAINING, **(encoder or {})}
    convnext = ConvNeXt(_plain("sentinel2-l2a", bands), **settings)
    ours = MPMAE(convnext, **{**released.options, "targets": targets, **options})
    images, values = {}, {}
    for target in targets:
        if target.name == "sentinel2":
            images[target.role] = _image(count, convnext.spec, released.image_size)
        elif target.scope == "pixel":
            images[target.role] = _pixels(count, target, released.image_size)
        else:
            values[target.role] = _values(count, target)
    return Setup(ours, replace(_batch(count, images), targets=values), LiteralMPMAE(ours))


METHODS: dict[str, Callable[..., Setup]] = {
    "mae": mae,
    "scale-mae": scale_mae,
    "spectral-gpt": spectral_gpt,
    "mp-mae": mp_mae,
}
BATCHES = {"mae": 8, "scale-mae": 4, "spectral-gpt": 4, "mp-mae": 8}


def loss(method: nn.Module, batch: Batch) -> Tensor:
    """The total loss, with masks that depend on the batch alone."""
    return method(batch, SampleRandom(batch.seeds))["total"]


def differences(setup: Setup) -> dict[str, float]:
    """Relative differences of ours from the literal rendering: of the loss, of its gradient, and of the latter's norm.

    The gradient is all parameters' as one vector. An absolute error has the sign of a difference as its gradient, so
    that rounding alone turns a few pixels over.
    """
    assert setup.literal is not None
    values = [loss(m, setup.batch) for m in (setup.ours, setup.literal)]
    for value in values:
        value.backward()
    ours = setup.literal.translate({n: p.grad for n, p in setup.ours.named_parameters() if p.grad is not None})
    theirs = {n: p.grad for n, p in setup.literal.named_parameters() if p.grad is not None}
    a, b = (torch.cat([tensors[n].flatten() for n in sorted(theirs)]) for tensors in (ours, theirs))
    for method in (setup.ours, setup.literal):
        method.zero_grad()
    return {
        "loss": abs(values[0].item() / values[1].item() - 1),
        "gradient": ((a - b).norm() / b.norm()).item(),
        "gradient_norm": abs((a.norm() / b.norm()).item() - 1),
    }


def _vit(size: str) -> dict[str, Any]:
    return dict(SIZES[size])


def _plain(sensor: str, bands: tuple[str, ...]) -> InputSpec:
    """Pixels as they are: normalisation is no part of a step."""
    role = RoleSpec(sensor=sensor, bands=bands, unit=UNITS[sensor], normaliser=Identity())
    return InputSpec(roles={"optical": role})


def _batch(count: int, images: dict[str, ImageBatch]) -> Batch:
    return Batch(images=images, keys=("",) * count, seeds=torch.arange(count))


def _image(count: int, spec: InputSpec, side: int) -> ImageBatch:
    bands, pixels = spec.optical.bands, torch.randn(count, len(spec.optical.bands), side, side)
    return ImageBatch.of(pixels, bands=bands, unit=unit(spec.optical.unit), gsd=1.0)


def _pixels(count: int, target: Modality, side: int) -> ImageBatch:
    shape = (count, len(target.channels), side, side)
    if target.kind == "continuous":
        return ImageBatch.of(torch.randn(shape), bands=target.channels, unit=NORMALISED)
    labels = torch.randint(0, shape[1], (count, 1, side, side)).float()
    return ImageBatch.of(labels, bands=("label",), unit=NORMALISED)


def _values(count: int, target: Modality) -> Tensor:
    if target.kind == "categorical":
        return torch.randint(0, len(target.channels), (count,))
    return torch.randn(count, len(target.channels))
