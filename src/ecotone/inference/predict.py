"""Predict a raster of any size: the map of a predictor as georeferenced files."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ecotone.inference.feed import Rasters
from ecotone.inference.prediction_job import ZARR, Job, PredictOptions, output_files
from ecotone.rasters.cogs import write_cogs
from ecotone.rasters.layers import Layers
from ecotone.rasters.zarrs import write_zarr
from ecotone.weights import LoadedPredictor

OnProgress = Callable[[int, int], None]  # rows of the map that are done, and all of them


@dataclass(frozen=True)
class Prediction:
    """What was predicted, and how fast.

    Attributes:
        files: What was written: ``map``, and if asked for ``probabilities`` and ``uncertainty``.
        shape: Height and width of the map.
        resumed_rows: Rows of the map that a run before this one had made.
        seconds: Wall-clock time.
        mpix: Million pixels of raster predicted in this run.
        km2: Square kilometres of raster predicted in this run; None without a GSD.
        gsd: Metres per pixel that the model was told.
        gsd_source: Where that number comes from; ``assumed`` is the model's own.
        model_hash: Hash of the encoder.
    """

    files: dict[str, str]
    shape: tuple[int, int]
    resumed_rows: int
    seconds: float
    mpix: float
    km2: float | None
    gsd: float | None
    gsd_source: str
    model_hash: str

    def as_json(self) -> dict[str, Any]:
        speed = {"mpix_per_s": self.mpix / self.seconds}
        return asdict(self) | speed | {"km2_per_s": None if self.km2 is None else self.km2 / self.seconds}


def predict_raster(
    loaded: LoadedPredictor,
    raster: Rasters,
    *,
    out: str | Path,
    options: PredictOptions | None = None,
    on_progress: OnProgress | None = None,
) -> Prediction:
    """Predict a raster strip by strip: reading, model and writing overlap, and memory does not grow with its height.

    A run that was stopped goes on where it was: the same files to the byte. What it has made lies beside ``out`` until
    then, uncompressed.

    Args:
        loaded: The predictor. A dense one answers for every pixel, one of whole images for every window.
        raster: Meets the predictor's InputSpec; for one of several roles a raster for each, by role, on one grid.
        out: A ``.tif`` file; probabilities and uncertainty stand beside it as ``.probabilities.tif`` and
            ``.uncertainty.tif``. Or a ``.zarr`` folder, which holds them all.
        options: How to cut it up.
        on_progress: Called with the rows of the map that are done and all of them.

    Raises:
        DataError: The output is neither or cannot be written, or the raster cannot be read.
        InputError: The raster does not meet the InputSpec, or a role has none.
    """
    started, options = time.perf_counter(), options or PredictOptions()
    job = Job(loaded, raster, options)
    feed = job.answering.feed
    paths = output_files(out, job.outputs)
    work = paths["map"].with_name(f".{paths['map'].name}.unfinished")
    layers = [output.layer for output in job.outputs.values()]
    with Layers(work, layers, job.shape, job.settings) as writing:
        resumed = done = writing.rows
        for rows in job.rows(done):
            writing.append([output.store(rows.answers, rows.seen.numpy()) for output in job.outputs.values()])
            done += rows.seen.shape[0]
            if on_progress:
                on_progress(done, job.shape[0])
        writing.close()
        if paths["map"].suffix == ZARR:
            write_zarr(writing, paths["map"], job.raster.crs, job.transform, job.tags)
        else:
            write_cogs(writing, list(paths.values()), job.raster.crs, job.transform)
        writing.remove()
    seconds = time.perf_counter() - started
    mpix = job.raster.shape[0] * job.raster.shape[1] * (1 - resumed / job.shape[0]) / 1e6
    return Prediction(
        files={name: str(path) for name, path in paths.items()},
        shape=job.shape,
        resumed_rows=resumed,
        seconds=seconds,
        mpix=mpix,
        km2=None if feed.gsd is None else mpix * feed.gsd**2,
        gsd=feed.gsd,
        gsd_source=feed.gsd_source,
        model_hash=loaded.model.hash,
    )
