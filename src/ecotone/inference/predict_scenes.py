"""Predict many scenes into one folder: what is done stays done, and what fails is listed and stops nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import RasterioIOError

from ecotone.embeddings.folder import QUARANTINE
from ecotone.errors import DataError, InputError, OutputError, SensorError
from ecotone.files import replacing
from ecotone.inference.embed_store import Step
from ecotone.inference.predict import Prediction, predict_raster
from ecotone.inference.prediction_job import Job, PredictOptions, output_files
from ecotone.inference.told import check_single
from ecotone.rasters import Raster, Source
from ecotone.weights import LoadedPredictor


@dataclass
class PredictionReport:
    """What became of the scenes of a run.

    Attributes:
        folder: Where the maps are.
        predicted: Source id -> its prediction.
        skipped: Ids of scenes whose map was there before, made with the same settings.
        quarantine: Scene -> why it could not be predicted.
        seconds: Wall-clock time.
    """

    folder: str
    predicted: dict[str, Prediction] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    quarantine: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "predicted": {name: made.as_json() for name, made in self.predicted.items()}}


def predict_scenes(
    loaded: LoadedPredictor,
    sources: Sequence[Source],
    *,
    out: str | Path,
    options: PredictOptions | None = None,
    choices: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    on_progress: Callable[[Step], None] | None = None,
) -> PredictionReport:
    """Predict scenes into a folder, one map for each, named by the id of its source; run again, it goes on.

    A scene that cannot be read or does not fit the predictor is listed in the report and in ``quarantine.json``, and
    the others are predicted. One whose map is there, made of the same files with the same settings, is skipped.

    Args:
        loaded: The predictor.
        sources: What ``list_sources`` gives.
        out: The folder.
        options: How to cut the rasters up.
        choices: What is declared about all scenes: keyword arguments of ``open_raster``.
        overwrite: Predict also what is done.
        on_progress: Told how far the run has come; ``done`` counts rows of the map.

    Raises:
        OutputError: A file cannot be written.
        InputError: The predictor needs more than one raster.
    """
    started, folder, report = time.perf_counter(), Path(out), PredictionReport(str(out))
    options, mpix, km2 = options or PredictOptions(), 0.0, 0.0
    check_single(loaded.predictor.spec)
    for number, source in enumerate(sources):
        try:
            with source.open(**(choices or {})) as raster:
                job, path = Job(loaded, raster, options), folder / f"{source.id}.tif"
                if not overwrite and _is_done(job, path):
                    report.skipped.append(source.id)
                    continue
                tell = progress_of(raster, source, number, len(sources), (mpix, km2), on_progress)
                made = predict_raster(loaded, raster, out=path, options=options, on_progress=tell)
            report.predicted[source.id] = made
            mpix, km2 = mpix + made.mpix, km2 + (made.km2 or 0.0)
        except OutputError:
            raise
        except (DataError, InputError, SensorError) as error:
            report.quarantine[str(source)] = str(error)
    with replacing(folder / QUARANTINE) as temporary:
        temporary.write_text(json.dumps({"reasons": report.quarantine}, indent=1, ensure_ascii=False) + "\n", "utf-8")
    report.seconds = time.perf_counter() - started
    return report


def progress_of(
    raster: Raster,
    source: Source,
    number: int,
    sources: int,
    before: tuple[float, float],
    on_progress: Callable[[Step], None] | None,
) -> Callable[[int, int], None]:
    """What ``predict_raster`` calls with rows done and rows in all, to tell how far a run over scenes has come.

    Args:
        raster: The scene.
        source: Where it comes from.
        number: Scenes before it.
        sources: Scenes in all.
        before: Million pixels and square kilometres of the scenes before it.
        on_progress: Who is told.
    """
    mpix = raster.shape[0] * raster.shape[1] / 1e6
    km2 = mpix * (raster.gsd or 0.0) ** 2

    def tell(done: int, total: int) -> None:
        if on_progress:
            share = done / total
            on_progress(Step(source, number, sources, done, total, before[0] + mpix * share, before[1] + km2 * share))

    return tell


def _is_done(job: Job, path: Path) -> bool:
    """Whether all files of a prediction are there, made of the same raster with the same settings."""
    for file in output_files(path, job.outputs).values():
        try:
            with rasterio.open(file) as made:
                if made.tags().get("settings") != job.settings:
                    return False
        except RasterioIOError:
            return False
    return True
