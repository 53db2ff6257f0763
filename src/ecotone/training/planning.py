"""From a recipe to what training needs: data, spec, encoder and method; and a dry run of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ecotone.data import Cached, Cropped, Dataset, band_statistics, open_dataset
from ecotone.encoders import build_encoder, encoder_class
from ecotone.errors import DataError, InputError
from ecotone.inputs import InputSpec, RoleSpec, ZScore, ZScoreByLevel
from ecotone.methods import Method, build_method, method_class
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch, collate
from ecotone.sensors import sensor, unit
from ecotone.training.recipe import Recipe
from ecotone.training.resized import Resized


@dataclass(frozen=True)
class Plan:
    """A recipe made concrete: everything that training needs, before anything is written.

    Attributes:
        recipe: Resolved: what was left to the data is written in.
        dataset: Training images.
        method: Objective around a new encoder.
        probe: Some training images, for monitoring and dry runs.
    """

    recipe: Recipe
    dataset: Dataset
    method: Method
    probe: Batch

    @property
    def image_size(self) -> int:
        """Side in pixels of the images that the encoder sees in training."""
        batch = augment(self.recipe, self.probe.first(1))
        return self.method.input_size(next(iter(batch.images.values())).size[0])


def plan(recipe: Recipe) -> Plan:
    """Open the data, measure its statistics, and build encoder and method from the recipe's seed.

    Raises:
        EcotoneError: The data, the architecture or the method cannot be used as written.
    """
    data = recipe.data
    dataset = open_dataset(data.path, split=data.split, sensor=data.sensor, gsd=data.gsd, bands=recipe.input.bands)
    if data.size is not None:
        dataset = Resized(dataset, data.size)
    if data.cache:
        dataset = Cached(dataset)
    if data.crop is not None:
        dataset = Cropped(dataset, data.crop)
    probe = _probe(dataset)
    spec = build_spec(recipe, dataset, probe)
    options = method_class(recipe.method.kind).complete(dict(recipe.method.config), dataset)
    resolved = recipe.model_copy(
        update={
            "input": recipe.input.model_copy(update={"normaliser": spec.optical.normaliser}),
            "method": recipe.method.model_copy(update={"config": options}),
        }
    )
    torch.manual_seed(recipe.seed)
    encoder = build_encoder(recipe.encoder.kind, spec, recipe.encoder.readout, recipe.encoder.config)
    return Plan(resolved, dataset, build_method(recipe.method.kind, encoder, options), probe)


def _probe(dataset: Dataset, most: int = 256) -> Batch:
    """Readable samples spread evenly over the dataset, in an order of their own: folders are often sorted by class."""
    count = min(len(dataset), most)
    chosen = torch.linspace(0, len(dataset) - 1, count).round().long()
    samples = []
    for i in chosen[torch.randperm(count, generator=torch.Generator().manual_seed(0))].tolist():
        with suppress(DataError):  # the stream records what cannot be read
            samples.append(dataset[i])
    if not samples:
        raise DataError(f"none of {count} samples of {dataset.info.name} can be read")
    return collate(samples, list(range(len(samples))))


def build_spec(recipe: Recipe, dataset: Dataset, probe: Batch) -> InputSpec:
    """What the model will accept: the data's bands and unit, with statistics measured on the data if asked for."""
    section, (role, first) = recipe.input, next(iter(probe.images.items()))
    name = first.sensor or dataset.info.sensor
    if name is None:
        raise InputError(
            f"the images of {dataset.info.name} name no sensor",
            found=f"bands {', '.join(first.bands)}",
            mend="Set sensor in dataset.yaml or data.sensor in the recipe.",
        )
    values = unit(section.unit) if section.unit else first.unit
    bands, normaliser = first.bands, section.normaliser
    if normaliser == "published":
        normaliser = published(dataset, role, bands)
    elif normaliser == "z-score":
        mean, std = band_statistics(dataset, unit=values.name)
        normaliser = ZScore(mean=mean, std=std)
    levels = set(first.levels) or {sensor(name).level}
    kind, config = encoder_class(recipe.encoder.kind), recipe.encoder.config
    spec = RoleSpec(
        sensor=name,
        bands=bands,
        unit=values.name,
        normaliser=normaliser,
        gsd=section.gsd,
        gsd_required=kind.needs_gsd(config),
        level=levels.pop() if len(levels) == 1 and not isinstance(normaliser, ZScoreByLevel) else None,
    )
    return InputSpec(roles={section.role: spec}, size_multiple=kind.size_multiple(config))


def published(dataset: Dataset, role: str, bands: Sequence[str]) -> ZScore | ZScoreByLevel:
    """The statistics that come with a dataset, for these bands of a role.

    Raises:
        DataError: The dataset comes with none for this role, or lacks a band.
    """
    known = [m for m in getattr(dataset, "modalities", {}).values() if m.role == role and m.normaliser is not None]
    if not known or not set(bands) <= set(known[0].channels):
        raise DataError(
            f"{dataset.info.name} comes without statistics for the bands {', '.join(bands)} of its {role} images",
            found=", ".join(known[0].channels) if known else "none",
            mend="Set input.normaliser: z-score to measure them.",
        )
    return known[0].normaliser.select([known[0].channels.index(b) for b in bands])


def augment(recipe: Recipe, batch: Batch) -> Batch:
    """The recipe's transforms on a raw batch."""
    random = SampleRandom(batch.seeds)
    for transform in recipe.transforms:
        batch = transform(batch, random)
    return batch


def gflop_per_image(made: Plan) -> tuple[float, dict[str, Tensor]]:
    """Floating-point operations of forward and backward for one image, counted on a small batch, and its losses."""
    device = next(made.method.parameters()).device
    batch = augment(made.recipe, made.probe.first(4)).to(device)
    counter = FlopCounterMode(display=False)
    with counter:
        losses = made.method(batch, SampleRandom(batch.seeds))
        losses["total"].backward()
    return counter.get_total_flops() / len(batch) / 1e9, losses


def dry_run(recipe: Recipe) -> dict[str, Any]:
    """Run one small batch forward and back, and say what the recipe would do. Nothing is written."""
    made = plan(recipe)
    gflop, losses = gflop_per_image(made)
    return {
        "recipe": recipe.name,
        "samples": len(made.dataset),
        "bands": list(made.method.encoder.spec.optical.bands),
        "image_size": made.image_size,
        "encoder_parameters": sum(p.numel() for p in made.method.encoder.parameters()),
        "method_parameters": sum(p.numel() for p in made.method.parameters()),
        "gflop_per_image": gflop,
        "training_tflop": gflop * recipe.stage.images / 1e3,
        "steps": -(-recipe.stage.images // recipe.stage.batch_size),
        "epochs": recipe.stage.images / len(made.dataset),
        "first_loss": float(losses["total"].detach()),
    }
