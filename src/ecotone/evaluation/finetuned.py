"""The test score of a finished fine-tuning: read once, with an interval, and kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ecotone.data import open_dataset, with_masks
from ecotone.errors import DataError
from ecotone.evaluation.contract import Interval
from ecotone.evaluation.intervals import bootstrap
from ecotone.evaluation.tasks import TASKS
from ecotone.files import replacing
from ecotone.heads import Task
from ecotone.heads.tasks import judge, measured
from ecotone.metrics import METRICS, Answers
from ecotone.training.finetuning.scoring import OnProgress, answer
from ecotone.training.resized import Resized
from ecotone.weights import load_predictor

TEST = "test.json"


def score_test(
    run: str | Path,
    data: str | Path,
    *,
    gsd: float | None = None,
    sensor: str | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Score the predictor of a run on the test split and write ``RUN/test.json``; a score that is there is returned.

    A run that is not finished has no predictor, so nothing can be chosen by what is read here.

    Args:
        run: What ``finetune`` wrote.
        data: Dataset folder.
        gsd: Metres per pixel, where the data do not say.
        sensor: Sensor, where the data do not say.
        on_progress: Told of the images scored.

    Returns:
        ``model`` hash, number ``n`` of samples, and under ``scores`` each figure's ``value`` and ``ci95``.

    Raises:
        DataError: There is no test split, or it was scored for another state of this run.
    """
    file, loaded = Path(run) / TEST, load_predictor(run)
    if file.is_file():
        found = json.loads(file.read_text("utf-8"))
        if (found["model"], found["data"]) == (loaded.model.hash, str(data)):
            return found
        raise DataError(
            f"{file} holds the test score of another model or dataset",
            found=f"{found['model']} on {found['data']}",
            expected=f"{loaded.model.hash} on {data}",
            mend="Remove the file if you know why.",
        )
    dataset = with_masks(open_dataset(data, split="test", sensor=sensor, gsd=gsd), data)
    dataset = Resized(dataset, loaded.model.card.encoder.image_size)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    said = answer(loaded.predictor.to(device), dataset, on_progress, "test")
    task = loaded.predictor.task
    judged = judge(task, said.given, said.labels, loaded.predictor.thresholds or None)
    interval = Interval(draws=TASKS[task].draws) if task in TASKS else Interval()
    result = {
        "model": loaded.model.hash,
        "data": str(data),
        "n": len(said.labels),
        "interval": interval.model_dump(mode="json"),
        "scores": with_intervals(task, judged, interval),
    }
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return result


def need_test_split(data: str | Path, sensor: str | None = None) -> None:
    """Make sure that there will be something to score; only the names of the splits are looked at.

    Raises:
        DataError: The dataset has no test split.
    """
    names = sorted(set(open_dataset(data, sensor=sensor).splits()))
    if "test" not in names:
        raise DataError(
            f"{data} has no test split",
            found=", ".join(n for n in names if n) or "no splits",
            mend="Leave --test out, or name test samples in the split column of manifest.csv.",
        )


def with_intervals(task: Task, judged: Answers, interval: Interval) -> dict[str, Any]:
    """Every figure of answers, with its percentile bootstrap interval over the samples."""
    names = measured(task, judged)
    found = bootstrap([METRICS[name].of(judged) for name in names], len(judged), interval)
    return {
        name: {"value": e.value, "ci95": list(e.interval(interval.level))} for name, e in zip(names, found, strict=True)
    }
