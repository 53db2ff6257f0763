"""Fine-tuning from settings to a run: data, predictor, training, selection, deliverable."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import ecotone
from ecotone.data import Dataset, DataStream
from ecotone.heads import Predictor
from ecotone.heads.tasks import MEASURED, Task
from ecotone.heads.thresholds import best_thresholds
from ecotone.training.finetuning.adapters import add_adapters, merge_adapters
from ecotone.training.finetuning.curve import draw_curve
from ecotone.training.finetuning.loop import SelectingLoop
from ecotone.training.finetuning.objective import TaskLoss
from ecotone.training.finetuning.pixel_probe import class_weights, fit_pixel_probe
from ecotone.training.finetuning.prepared import new_predictor, split_data
from ecotone.training.finetuning.probe import fit_probe
from ecotone.training.finetuning.scoring import OnProgress, answer
from ecotone.training.finetuning.settings import FineTune
from ecotone.training.recipe import StageSection
from ecotone.training.run import Run
from ecotone.weights import Model, load_model, save_predictor

OnRow = Callable[[dict[str, Any]], None]
SETTINGS = "finetune.yaml"


@dataclass(frozen=True)
class FineTuned:
    """A finished fine-tuning.

    Attributes:
        run: Its folder, log and pictures; ``run.folder / "model"`` is the predictor.
        task: What it answers.
        val: Figures of the delivered predictor on val.
        start: Figures on val before training: of the linear head on the frozen encoder, or of random weights.
        images: Images seen when the best state was met.
        train_samples: Samples learnt from.
        absent: Classes without a sample in train, so never predicted.
    """

    run: Run
    task: Task
    val: dict[str, float]
    start: dict[str, float]
    images: int
    train_samples: int
    absent: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The figures, for JSON."""
        found = {k: v for k, v in vars(self).items() if k != "run"}
        return {"run": str(self.run.folder), "model": str(self.run.folder / "model"), **found}


def finetune(
    settings: FineTune, out: str | Path, on_row: OnRow | None = None, on_progress: OnProgress | None = None
) -> FineTuned:
    """Fine-tune as the settings say, resuming what is in ``out``; the deliverable is the predictor ``out/model``.

    Args:
        settings: Validated settings.
        out: Run folder; a run with other settings there is refused.
        on_row: Called with every row of the log and ``budget``, the images of the whole training.
        on_progress: Told of reading features.

    Raises:
        EcotoneError: The model, the data or the settings cannot be used as they are; one clear sentence.
    """
    started = time.monotonic()
    model = load_model(settings.model)
    settings, train, val = split_data(settings, model)
    run = Run(out)
    run.claim(SETTINGS, {**settings.model_dump(mode="json"), "model_hash": model.hash})
    predictor = new_predictor(settings, model, train)
    predictor.to("cuda" if torch.cuda.is_available() else "cpu")
    tried = []
    if run.load_state() is None and not settings.from_scratch:
        if predictor.dense:
            tried = fit_pixel_probe(predictor, train, val, on_progress, balanced=settings.balanced)
        else:
            tried = fit_probe(predictor, train, val, on_progress)
    if settings.mode == "frozen":
        run.rewind_log(-1)
        for probed in tried:
            run.log({"images": 0, **probed.settings, **_named(probed.figures)})
        best, images = predictor, 0
    else:
        best, images = _train(predictor, settings, train, val, run, on_row)
    return _deliver(best, images, settings, model, train, val, run, started)


def _train(
    predictor: Predictor, settings: FineTune, train: Dataset, val: Dataset, run: Run, on_row: OnRow | None
) -> tuple[Predictor, int]:
    """The best predictor on val over the whole training, and the images it had seen."""
    if settings.mode == "lora":
        add_adapters(predictor.encoder, settings.lora_rank)
    stage = budget(settings, len(train))
    stream = DataStream(train, stage.batch_size, seed=settings.seed, workers=settings.workers)
    weights = class_weights(train, predictor.outputs) if settings.balanced and predictor.dense else None
    objective = TaskLoss(predictor, settings, weights)
    tell = (lambda row: on_row({**row, "budget": stage.images})) if on_row is not None else None
    loop = SelectingLoop(
        objective, stream, val, settings, stage, run, transforms=settings.transforms or (), on_check=tell
    )
    for row in loop.steps():
        if tell is not None:
            tell(row)
    best = loop.best_predictor()
    merge_adapters(best.encoder)
    return best, loop.best["images"]


def budget(settings: FineTune, samples: int) -> StageSection:
    """The budget in images of whole steps."""
    steps = max(1, round(settings.epochs * samples / settings.batch_size))
    images = steps * settings.batch_size
    return StageSection(
        images=images,
        batch_size=settings.batch_size,
        warmup_images=int(settings.warmup * images),
        precision=settings.precision,
        ema=settings.ema,
    )


def _deliver(
    predictor: Predictor,
    images: int,
    settings: FineTune,
    model: Model,
    train: Dataset,
    val: Dataset,
    run: Run,
    started: float,
) -> FineTuned:
    said = answer(predictor, val)
    if predictor.task == "multilabel":
        predictor.thresholds = tuple(best_thresholds(said.given, said.labels).tolist())
    draw_curve(run.rows(), MEASURED[predictor.task][0], run.folder / "pictures" / "curve.png")
    save_predictor(
        predictor,
        run.folder / "model",
        name=f"{model.name}-{train.info.name}",
        image_size=settings.size or model.card.encoder.image_size,
        recipe={"finetune": settings.model_dump(mode="json")},
        provenance={
            "ecotone": ecotone.__version__,
            "torch": torch.__version__,
            "from": {"name": model.name, "hash": model.hash, "scratch": settings.from_scratch},
            "data": train.info.name,
            "synthetic": train.info.synthetic,
            "train_samples": len(set(train.keys())),
            "val_samples": len(val),
            "val": said.figures,
            "images_of_the_best": images,
            "seed": settings.seed,
            "threads": torch.get_num_threads(),
            "seconds_of_last_session": round(time.monotonic() - started),
        },
    )
    run.close()
    absent = _absent(predictor, train)
    start = said.figures if settings.mode == "frozen" else _start(run)
    return FineTuned(run, predictor.task, said.figures, start, images, len(set(train.keys())), tuple(absent))


def _absent(predictor: Predictor, train: Dataset) -> list[str]:
    """Classes of which train holds nothing."""
    if predictor.dense:
        weights = class_weights(train, predictor.outputs).tolist()
        return [name for name, weight in zip(predictor.classes, weights, strict=True) if not weight]
    return sorted(set(predictor.classes) - set(train.labels())) if predictor.task == "classification" else []


def _start(run: Run) -> dict[str, float]:
    """Figures on val before the first step."""
    first = next(r for r in run.rows() if "val/loss" in r)
    return {k.removeprefix("val/"): v for k, v in first.items() if k.startswith("val/")}


def _named(figures: dict[str, float]) -> dict[str, float]:
    return {f"val/{name}": value for name, value in figures.items()}
