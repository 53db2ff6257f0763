"""How far the choice of normaliser alone moves a score: measured on val, so that the test split stays shut."""

from __future__ import annotations

import torch
from torch import Tensor

from ecotone.encoders import Encoder
from ecotone.evaluation.audits.base import Figure, Finding, figure
from ecotone.evaluation.audits.variants import Variants, variant
from ecotone.evaluation.contestants import Contestant
from ecotone.evaluation.intervals import bootstrap
from ecotone.evaluation.scoring import Preparation
from ecotone.evaluation.setup import Setup
from ecotone.inputs import Identity, MinMaxPerImage, Normaliser, RoleSpec, TwoSigmaToUnit, ZScore
from ecotone.metrics import METRICS
from ecotone.samples import ImageBatch

OWN = "its own"
LOOKS, PIXELS = 256, 512  # train images looked at, and pixels drawn from each
NOTE = (
    "The same weights behind other normalisers, whose statistics come from train images. Scored on val, where the "
    "linear probe also chooses, so the numbers are a little high and the test split takes no part. The difference is "
    "to the model's own normaliser. Do not choose by it: the model was trained with its own."
)


def normalisers(setup: Setup, made: Preparation) -> Finding:
    """Score every encoder on val under each normaliser."""
    figures, warnings = [], []
    for entrant, contestant in zip(setup.entrants, setup.contestants, strict=False):
        found = _figures(setup, contestant, _variants(setup, entrant.encoder))
        figures += found
        warnings += _warnings(setup, found)
    return Finding(
        name="normalisers",
        title="Normalisers, on val",
        note=NOTE,
        settings={"images": LOOKS, "pixels": PIXELS, "percentiles": [2, 98]},
        figures=figures,
        warnings=warnings,
    )


def _figures(setup: Setup, contestant: Contestant, encoders: dict[str, Encoder]) -> list[Figure]:
    train, val = Variants(setup, encoders).train_and_val()
    found = []
    for p in setup.protocols:
        metric = METRICS[setup.metrics[p.name][0]]
        answers = [p.select(train[n], val[n], setup.task).answer(val[n]) for n in encoders]
        own, *others = bootstrap([metric.of(a) for a in answers], setup.splits.n["val"], setup.contract.interval)
        found.append(figure(setup, contestant, p.name, OWN, own, split="val"))
        for name, estimate in zip(list(encoders)[1:], others, strict=True):
            found.append(figure(setup, contestant, p.name, name, estimate, split="val", reference=own))
    return found


def _variants(setup: Setup, encoder: Encoder) -> dict[str, Encoder]:
    """Name -> the encoder behind a normaliser, its own first."""
    values = {role: _values(setup, role, spec) for role, spec in encoder.spec.roles.items()}
    found = {OWN: variant(encoder)}
    for name in ("z-score", "min-max per image", "percentiles", "two sigma to 8 bits", "none"):
        roles = {
            role: replace_normaliser(spec, _normaliser(name, values[role])) for role, spec in encoder.spec.roles.items()
        }
        found[name] = variant(encoder, spec=encoder.spec.model_copy(update={"roles": roles}))
    return found


def replace_normaliser(spec: RoleSpec, normaliser: Normaliser) -> RoleSpec:
    """The same bands in the same unit behind another normaliser."""
    return spec.model_copy(update={"normaliser": normaliser})


def _normaliser(name: str, values: Tensor) -> Normaliser:
    """A normaliser by name, from pixel values (bands, n) in the model's unit."""
    mean, std = tuple(values.mean(1).tolist()), tuple(values.std(1, correction=0).clamp_min(1e-6).tolist())
    if name == "z-score":
        return ZScore(mean=mean, std=std)
    if name == "two sigma to 8 bits":
        return TwoSigmaToUnit(mean=mean, std=std)
    if name == "percentiles":
        low, high = (torch.quantile(values, q, dim=1) for q in (0.02, 0.98))
        return ZScore(mean=tuple(low.tolist()), std=tuple((high - low).clamp_min(1e-6).tolist()))
    return MinMaxPerImage() if name == "min-max per image" else Identity()


def _values(setup: Setup, role: str, spec: RoleSpec) -> Tensor:
    """(bands, n) observed values of some train images, in the model's unit and order of bands."""
    generator = torch.Generator().manual_seed(0)
    train = setup.splits.train
    picked = torch.randperm(len(train), generator=generator)[:LOOKS].sort().values.tolist()
    view = setup.plan.train_view(1.0)
    raw = replace_normaliser(spec, Identity())
    found = [_drawn(raw.prepare(role, b[role]), generator) for b in setup.reader.batches(train, view, picked)]
    return torch.cat(found, 1)


def _drawn(image: ImageBatch, generator: torch.Generator) -> Tensor:
    flat = image.pixels.permute(2, 0, 1, 3, 4).flatten(1)
    if image.valid is not None:
        flat = flat[:, image.valid.flatten()]
    if not flat.shape[1]:
        return flat
    return flat[:, torch.randint(flat.shape[1], (PIXELS * len(image.pixels),), generator=generator)]


def _warnings(setup: Setup, figures: list[Figure]) -> list[str]:
    """Where another normaliser is surely better than the model's own."""
    found = []
    for f in figures:
        metric = METRICS[f.metric]
        if f.difference_ci95 is not None and min(metric.gain(v) for v in f.difference_ci95) > 0:
            found.append(
                f"{f.encoder} scores better on val ({f.protocol}) behind the normaliser {f.setting!r} than behind its "
                "own: check the unit of the data and the statistics of the model."
            )
    return found
