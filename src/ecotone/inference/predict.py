"""Predict a raster of any size: the map of a predictor as georeferenced files."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ecotone
from ecotone.embeddings.footprints import CellGrid
from ecotone.errors import DataError, RecipeError, nearest
from ecotone.inference.ahead import Behind
from ecotone.inference.answering import Answering
from ecotone.inference.cells import cell_rows
from ecotone.inference.dense import AnsweredRows, dense_rows
from ecotone.inference.outputs import Output, outputs_of
from ecotone.inputs import CONVERSIONS
from ecotone.rasters import Raster
from ecotone.rasters.cogs import write_cogs
from ecotone.rasters.layers import Layers
from ecotone.rasters.tiling import Blend, Tiling
from ecotone.rasters.zarrs import write_zarr
from ecotone.weights import LoadedPredictor

ZARR = ".zarr"
OnProgress = Callable[[int, int], None]  # pixel rows done, pixel rows in all


@dataclass(frozen=True)
class PredictOptions:
    """How a raster is cut up and put together again.

    Attributes:
        window: Side in pixels of the windows; None for the size the model was trained at.
        overlap: Pixels by which neighbouring windows overlap; None for an eighth of the window for a dense predictor,
            and none for one of whole images.
        blend: How overlapping answers for pixels are blended: ``cosine``, ``linear`` or ``crop``.
        batch_size: Windows in one forward pass; None for 4 on a CPU and 32 on a GPU.
        flips: Mean of the answers for each window and its three mirror images.
        probabilities: Write the probability of each class too.
        uncertainty: Write the entropy of the probabilities too.
        min_valid: Smallest share of observed pixels for which an image as a whole is answered.
        convert: Named display conversion before the model, such as ``rgb8``.
    """

    window: int | None = None
    overlap: int | None = None
    blend: Blend = "cosine"
    batch_size: int | None = None
    flips: bool = False
    probabilities: bool = False
    uncertainty: bool = False
    min_valid: float = 0.5
    convert: str | None = None

    def __post_init__(self) -> None:
        if self.convert is not None and self.convert not in CONVERSIONS:
            raise RecipeError(f"unknown display conversion {self.convert!r}", mend=nearest(self.convert, CONVERSIONS))
        if self.batch_size is not None and self.batch_size < 1:
            raise RecipeError("the batch size must be at least 1", found=self.batch_size)
        if not 0 <= self.min_valid <= 1:
            raise RecipeError("the share of valid pixels lies between 0 and 1", found=self.min_valid)


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
    raster: Raster,
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
        raster: Meets the predictor's InputSpec.
        out: A ``.tif`` file; probabilities and uncertainty stand beside it as ``.probabilities.tif`` and
            ``.uncertainty.tif``. Or a ``.zarr`` folder, which holds them all.
        options: How to cut it up.
        on_progress: Called with the rows of the map that are done and all of them.

    Raises:
        DataError: The output is neither or cannot be written, or the raster cannot be read.
        InputError: The raster does not meet the InputSpec.
    """
    started, options = time.perf_counter(), options or PredictOptions()
    job = Job(loaded, raster, options)
    paths = output_files(out, job.outputs)
    work = paths["map"].with_name(f".{paths['map'].name}.unfinished")
    layers = [output.layer for output in job.outputs.values()]
    with Layers(work, layers, job.shape, job.settings) as writing, Behind() as behind:
        resumed = done = writing.rows
        for rows in job.rows(done):
            behind.run(partial(_write, writing, list(job.outputs.values()), rows))
            done += rows.seen.shape[0]
            if on_progress:
                on_progress(done, job.shape[0])
        behind.wait()
        writing.close()
        if paths["map"].suffix == ZARR:
            write_zarr(writing, paths["map"], raster.crs, job.transform, job.tags)
        else:
            write_cogs(writing, list(paths.values()), raster.crs, job.transform)
        writing.remove()
    seconds = time.perf_counter() - started
    mpix = raster.shape[0] * raster.shape[1] * (1 - resumed / job.shape[0]) / 1e6
    return Prediction(
        files={name: str(path) for name, path in paths.items()},
        shape=job.shape,
        resumed_rows=resumed,
        seconds=seconds,
        mpix=mpix,
        km2=None if job.answering.gsd is None else mpix * job.answering.gsd**2,
        gsd=job.answering.gsd,
        gsd_source=job.answering.gsd_source,
        model_hash=loaded.model.hash,
    )


def output_files(out: str | Path, names: Iterable[str]) -> dict[str, Path]:
    """The files of a prediction by name.

    Raises:
        DataError: The path is neither a ``.tif`` nor a new ``.zarr``.
    """
    out = Path(out)
    if out.suffix == ZARR:
        if out.exists():
            raise DataError(f"{out} exists already", mend="Choose another --out, or remove it.")
        return {"map": out}
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise DataError(
            "a map is written as a GeoTIFF or as Zarr",
            found=str(out),
            expected="a path that ends in .tif, or for one scene in .zarr",
        )
    return {name: out if name == "map" else out.with_suffix(f".{name}.tif") for name in names}


class Job:
    """One predictor, one raster, one way to cut it up.

    Attributes:
        settings: Hash of all that decides the numbers: raster, predictor, options. Stored in the files as ``settings``.
        shape: Height and width of the map.
        transform: Column and row of the map to CRS coordinates.
        outputs: What is written, by name.
        tags: Metadata of every file.
    """

    def __init__(self, loaded: LoadedPredictor, raster: Raster, options: PredictOptions) -> None:
        self.loaded, self.raster, self.options = loaded, raster, options
        predictor = loaded.predictor
        window = options.window or loaded.model.card.encoder.image_size
        usual = window // 8 if predictor.dense else 0
        overlap = usual if options.overlap is None else options.overlap
        self.tiling = Tiling(raster.shape, window, window - overlap, options.blend)
        self.cells = None if predictor.dense else CellGrid(raster.shape, window, window - overlap)
        self.answering = Answering(predictor, raster, convert=options.convert, flips=options.flips)
        # Batches of 4 windows keep what a light model works on in the cache of a CPU; a GPU wants more at once.
        self.batch_size = options.batch_size or (4 if self.answering.device.type == "cpu" else 32)
        self.settings = self._settings()
        self.tags = self._tags()
        self.outputs = outputs_of(
            predictor, probabilities=options.probabilities, uncertainty=options.uncertainty, tags=self.tags
        )
        self.shape = self.cells.size if self.cells else raster.shape
        self.transform = self.cells.transform(raster.transform) if self.cells else raster.transform

    def rows(self, first: int) -> Iterator[AnsweredRows]:
        """The rows of the map from ``first`` on."""
        if first == self.shape[0]:
            return iter(())
        if self.cells:
            size, share = self.batch_size, self.options.min_valid
            return cell_rows(self.answering, self.raster, self.cells, size, share, first)
        return dense_rows(self.answering, self.raster, self.tiling, self.batch_size, first)

    def _settings(self) -> str:
        files = [Path(p) for p in self.raster.paths]
        stamps = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) if f.exists() else str(f) for f in files]
        seen = self.raster
        raster = (stamps, seen.shape, seen.bands, seen.unit.name, seen.gsd, seen.level, seen.mask)
        card = self.loaded.card
        model = (card.encoder_sha256, card.weights_sha256, card.thresholds, self.answering.gsd)
        cut = (self.tiling.window, self.tiling.stride, self.batch_size)
        text = json.dumps([raster, model, asdict(self.options), cut], default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _tags(self) -> dict[str, str]:
        told = "unknown" if self.answering.gsd is None else f"{self.answering.gsd:g} m ({self.answering.gsd_source})"
        blend = f", {self.tiling.blend} blend" if self.cells is None else ""
        return {
            "ecotone_version": ecotone.__version__,
            "model": self.loaded.model.card.name,
            "model_hash": self.loaded.model.hash,
            "head_hash": self.loaded.card.weights_sha256[:16],
            "task": self.loaded.card.task,
            "source": self.raster.name,
            "gsd": told,
            "conversion": self.options.convert or "none",
            "windows": f"{self.tiling.window} px, stride {self.tiling.stride}" + blend,
            "settings": self.settings,
        }


def _write(layers: Layers, outputs: list[Output], rows: AnsweredRows) -> None:
    seen = rows.seen.numpy()
    layers.append([output.store(rows.answers, seen) for output in outputs])
