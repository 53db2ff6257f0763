"""From a recipe to a run: a plan, the loop, the deliverable; and runs chained into stages."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

import ecotone
from ecotone.data import DataStream
from ecotone.encoders import Encoder
from ecotone.errors import RecipeError
from ecotone.training.fit import Loop, fit
from ecotone.training.initial import start_from
from ecotone.training.monitor import Monitor
from ecotone.training.planning import Plan, gflop_per_image, plan
from ecotone.training.recipe import Recipe
from ecotone.training.run import Run
from ecotone.weights import save_method_state, save_model

STAGES = "stages"  # folder of a run that holds the runs of the stages before the last


def run_recipe(recipe: Recipe, out: str | Path, on_row: Callable[[dict[str, Any]], None] | None = None) -> Run:
    """Pretrain as the recipe says, resuming what is in ``out``; the deliverable is ``out/model``.

    Args:
        recipe: Validated recipe. Of a chain, the last stage is the run in ``out``, and the stages before it are runs
            in ``out/stages``.
        out: Run folder; a run of another recipe there is refused.
        on_row: Called with every row of the log; rows of a chain carry ``stage``, the name of theirs.

    Returns:
        The finished run.
    """
    out, fabric = Path(out), _fabric()
    if not recipe.stages:
        return _run(recipe, out, fabric, on_row)
    run, before = None, recipe.initial
    for number, stage in enumerate(recipe.stages, 1):
        last = number == len(recipe.stages)
        folder = out if last else out / STAGES / f"{number}-{stage.name}"
        name = recipe.name if last else f"{recipe.name}-{stage.name}"
        part = stage.model_copy(update={"name": name, "initial": stage.initial or before})
        run = _run(part, folder, fabric, _naming(stage.name, on_row))
        before = str(folder)
    assert run is not None  # a chain has stages
    return run


def _naming(stage: str, on_row: Callable[[dict[str, Any]], None] | None) -> Callable[[dict[str, Any]], None] | None:
    return None if on_row is None else lambda row: on_row({**row, "stage": stage})


def _run(recipe: Recipe, out: Path, fabric: Fabric, on_row: Callable[[dict[str, Any]], None] | None) -> Run:
    started = time.monotonic()
    run = Run(out, leader=fabric.is_global_zero)
    made = plan(recipe)
    source = start_from(made.method, recipe.initial) if recipe.initial else None
    if run.leader:
        run.claim("recipe.yaml", made.recipe.model_dump(mode="json"), besides=(STAGES,))
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
        more = {"initial": source, "seconds_of_last_session": round(time.monotonic() - started)}
        if fabric.device.type == "cpu":
            more["core_hours"] = _hours(run, stage.batch_size) * torch.get_num_threads() * fabric.world_size
        _deliver(encoder, made, run, more)
    fabric.barrier()
    return run


def _hours(run: Run, batch_size: int) -> float:
    """Time spent on the steps of all sessions, by the log."""
    return sum(batch_size / row["images_per_s"] for row in run.rows() if "images_per_s" in row) / 3600


def _deliver(encoder: Encoder, made: Plan, run: Run, more: dict[str, Any]) -> None:
    recipe = made.recipe
    save_method_state(made.method.state_dict(), run.folder)
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
            "training_tflop": gflop_per_image(made)[0] * recipe.stage.images / 1e3,
            **more,
        },
    )


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
