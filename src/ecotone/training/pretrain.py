"""From a recipe to a run: data, spec, encoder, method, loop, deliverable."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning_fabric import Fabric
from torch.utils.flop_counter import FlopCounterMode

import ecotone
from ecotone.data import Cached, Dataset, DataStream, band_statistics, open_dataset
from ecotone.encoders import Encoder, build_encoder
from ecotone.errors import DataError, InputError, RecipeError
from ecotone.files import replacing
from ecotone.inputs import InputSpec, RoleSpec, ZScore
from ecotone.methods import Method, build_method
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch, collate
from ecotone.sensors import sensor, unit
from ecotone.training.fit import Loop, fit
from ecotone.training.monitor import Monitor
from ecotone.training.recipe import Recipe
from ecotone.training.resized import Resized
from ecotone.training.run import Run
from ecotone.weights import save_model


@dataclass(frozen=True)
class Plan:
    """A recipe made concrete: everything that training needs, before anything is written.

    Attributes:
        recipe: Resolved: measured statistics written in.
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
    spec = build_spec(recipe, dataset)
    normaliser = spec.optical.normaliser
    resolved = recipe.model_copy(update={"input": recipe.input.model_copy(update={"normaliser": normaliser})})
    torch.manual_seed(recipe.seed)
    encoder = build_encoder(recipe.encoder.kind, spec, recipe.encoder.readout, recipe.encoder.config)
    method = build_method(recipe.method.kind, encoder, recipe.method.config)
    return Plan(resolved, dataset, method, _probe(dataset))


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


def build_spec(recipe: Recipe, dataset: Dataset) -> InputSpec:
    """What the model will accept: the data's bands and unit, with statistics measured on the data if asked for."""
    section, first = recipe.input, next(iter(_probe(dataset, 1).images.values()))
    name = first.sensor or dataset.info.sensor
    if name is None:
        raise InputError(
            f"the images of {dataset.info.name} name no sensor",
            found=f"bands {', '.join(first.bands)}",
            mend="Set sensor in dataset.yaml or data.sensor in the recipe.",
        )
    values = unit(section.unit) if section.unit else first.unit
    normaliser = section.normaliser
    if normaliser == "z-score":
        mean, std = band_statistics(dataset, unit=values.name)
        normaliser = ZScore(mean=mean, std=std)
    positions = recipe.encoder.config.get("positions", "sincos")
    role = RoleSpec(
        sensor=name,
        bands=first.bands,
        unit=values.name,
        normaliser=normaliser,
        gsd=section.gsd,
        gsd_required=positions == "gsd",
        level=first.level or sensor(name).level,
    )
    return InputSpec(roles={section.role: role}, size_multiple=recipe.encoder.config.get("patch", 16))


def augment(recipe: Recipe, batch: Batch) -> Batch:
    """The recipe's transforms on a raw batch."""
    random = SampleRandom(batch.seeds)
    for transform in recipe.transforms:
        batch = transform(batch, random)
    return batch


def dry_run(recipe: Recipe) -> dict[str, Any]:
    """Run one small batch forward and back, and say what the recipe would do. Nothing is written."""
    made = plan(recipe)
    batch = augment(recipe, made.probe.first(4))
    counter = FlopCounterMode(display=False)
    with counter:
        losses = made.method(batch, SampleRandom(batch.seeds))
        losses["total"].backward()
    gflop = counter.get_total_flops() / len(batch) / 1e9
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
        "first_loss": float(losses["total"]),
    }


def run_recipe(recipe: Recipe, out: str | Path, on_row: Callable[[dict[str, Any]], None] | None = None) -> Run:
    """Pretrain as the recipe says, resuming what is in ``out``; the deliverable is ``out/model``.

    Args:
        recipe: Validated recipe.
        out: Run folder; a run of another recipe there is refused.
        on_row: Called with every row of the log.

    Returns:
        The finished run.
    """
    started = time.monotonic()
    fabric = _fabric()
    run = Run(out, leader=fabric.is_global_zero)
    made = plan(recipe)
    if run.leader:
        _claim(run, made.recipe)
    stage = made.recipe.stage
    stream = DataStream(
        made.dataset,
        _share(stage.batch_size, stage.accumulate, fabric.world_size),
        seed=recipe.seed,
        workers=recipe.workers,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
    )
    monitor = None
    if run.leader:
        monitor = Monitor(recipe.monitor, made.probe, run.folder / "pictures", recipe.data.size)

    def watch(loop: Loop, row: dict[str, Any]) -> None:
        due = row["images"] % recipe.monitor.every_images < stage.batch_size or row["images"] >= stage.images
        if monitor is not None and due:
            row = {"images": row["images"], **monitor.measure(loop.method, loop.encoder, row["images"])}
            run.log(row)
        if on_row is not None:
            on_row(row)

    encoder = fit(
        made.method,
        stream,
        stage,
        run,
        optimiser=recipe.optimiser,
        fabric=fabric,
        transforms=recipe.transforms,
        checkpoint_every=recipe.checkpoint_every_images,
        on_step=watch,
    )
    if run.leader:
        _deliver(encoder, made, run, time.monotonic() - started)
    fabric.barrier()
    return run


def _deliver(encoder: Encoder, made: Plan, run: Run, seconds: float) -> None:
    recipe = made.recipe
    save_model(
        encoder,
        run.folder / "model",
        name=recipe.name,
        image_size=made.image_size,
        recipe=recipe.model_dump(mode="json"),
        provenance={
            "ecotone": ecotone.__version__,
            "torch": torch.__version__,
            "data": made.dataset.info.name,
            "samples": len(made.dataset),
            "synthetic": made.dataset.info.synthetic,
            "images_seen": recipe.stage.images,
            "seed": recipe.seed,
            "threads": torch.get_num_threads(),
            "seconds_of_last_session": round(seconds, 1),
        },
    )


def _claim(run: Run, recipe: Recipe) -> None:
    """Write the resolved recipe into a new run, or make sure that an old run has the same one."""
    file = run.folder / "recipe.yaml"
    ours = recipe.model_dump(mode="json")
    if file.exists():
        theirs = yaml.safe_load(file.read_text("utf-8"))
        odd = [key for key in ours if ours[key] != theirs.get(key)]
        if odd:
            raise RecipeError(
                f"{run.folder} holds a run of another recipe: {', '.join(odd)} differ",
                mend="Choose another --out, or delete that folder.",
            )
        return
    if run.folder.exists() and any(run.folder.iterdir()):
        raise DataError(f"{run.folder} is not empty and holds no run", mend="Choose another --out.")
    with replacing(file) as temporary:
        temporary.write_text(yaml.safe_dump(ours, sort_keys=False), "utf-8")


def _fabric() -> Fabric:
    """One device; or, under torchrun, one process of many."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Fabric(devices=1)
    fabric = Fabric(strategy="ddp", devices=local, num_nodes=world // local)
    fabric.launch()
    return fabric


def _share(batch_size: int, accumulate: int, processes: int) -> int:
    if batch_size % (accumulate * processes):
        raise RecipeError(
            "the batch does not divide among the processes",
            found=f"batch_size {batch_size}, accumulate {accumulate}, {processes} processes",
            expected="a multiple of accumulate times processes",
        )
    return batch_size // processes
