"""What a prediction is before it runs: options, windows, outputs, and the settings that decide its numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import ecotone
from ecotone.embeddings.footprints import CellGrid
from ecotone.errors import DataError, RecipeError, nearest
from ecotone.inference.answering import Answering
from ecotone.inference.cells import cell_rows
from ecotone.inference.dense import AnsweredRows, dense_rows
from ecotone.inference.feed import Rasters, stamps
from ecotone.inference.outputs import outputs_of
from ecotone.inputs import CONVERSIONS
from ecotone.rasters.tiling import Blend, Tiling
from ecotone.weights import LoadedPredictor

ZARR = ".zarr"


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
        at_gsd: Metres per pixel to which the raster is resampled first, or ``model`` for the nearest that the model was
            trained for; None leaves it as it is.
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
    at_gsd: float | Literal["model"] | None = None

    def __post_init__(self) -> None:
        if self.convert is not None and self.convert not in CONVERSIONS:
            raise RecipeError(f"unknown display conversion {self.convert!r}", mend=nearest(self.convert, CONVERSIONS))
        if self.batch_size is not None and self.batch_size < 1:
            raise RecipeError("the batch size must be at least 1", found=self.batch_size)
        if not 0 <= self.min_valid <= 1:
            raise RecipeError("the share of valid pixels lies between 0 and 1", found=self.min_valid)


class Job:
    """One predictor, one raster (or one for each role), one way to cut it up.

    Attributes:
        answering: The predictor and the rasters that are read, perhaps resampled.
        raster: That of the first role, on whose grid all lie.
        settings: Hash of all that decides the numbers: raster, predictor, options. Stored in the files as ``settings``.
        shape: Height and width of the map.
        transform: Column and row of the map to CRS coordinates.
        outputs: What is written, by name.
        tags: Metadata of every file.
    """

    def __init__(self, loaded: LoadedPredictor, given: Rasters, options: PredictOptions) -> None:
        self.loaded, self.options, predictor = loaded, options, loaded.predictor
        self.answering = Answering(predictor, given, gsd=options.at_gsd, convert=options.convert, flips=options.flips)
        self.raster = self.answering.feed.raster
        window = options.window or loaded.model.card.encoder.image_size
        usual = window // 8 if predictor.dense else 0
        stride = window - (usual if options.overlap is None else options.overlap)
        snap = 1 if predictor.dense else stride
        self.tiling = Tiling(self.raster.shape, window, stride, options.blend, snap)
        self.cells = None if predictor.dense else CellGrid(self.raster.shape, window, stride)
        # Batches of 4 windows keep what a light model works on in the cache of a CPU; a GPU wants more at once.
        self.batch_size = options.batch_size or (4 if self.answering.device.type == "cpu" else 32)
        self.settings = self._settings()
        self.tags = self._tags()
        self.outputs = outputs_of(
            predictor, probabilities=options.probabilities, uncertainty=options.uncertainty, tags=self.tags
        )
        self.shape = self.cells.size if self.cells else self.raster.shape
        own = self.raster.transform
        self.transform = self.cells.transform(own) if self.cells else own

    def rows(self, first: int) -> Iterator[AnsweredRows]:
        """The rows of the map from ``first`` on."""
        if first == self.shape[0]:
            return iter(())
        if self.cells:
            return cell_rows(self.answering, self.tiling, self.batch_size, self.options.min_valid, first)
        return dense_rows(self.answering, self.tiling, self.batch_size, first)

    def _settings(self) -> str:
        rasters = [
            (role, stamps(r.paths), r.shape, r.bands, r.unit.name, r.gsd, r.level, r.mask)
            for role, r in self.answering.feed.rasters.items()
        ]
        card = self.loaded.card
        model = (card.encoder_sha256, card.weights_sha256, card.thresholds, self.answering.feed.gsd)
        cut = (self.tiling.window, self.tiling.stride, self.batch_size)
        text = json.dumps([rasters, model, asdict(self.options), cut], default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _tags(self) -> dict[str, str]:
        feed = self.answering.feed
        told = "unknown" if feed.gsd is None else f"{feed.gsd:g} m ({feed.gsd_source})"
        blend = f", {self.tiling.blend} blend" if self.cells is None else ""
        return {
            "ecotone_version": ecotone.__version__,
            "model": self.loaded.model.card.name,
            "model_hash": self.loaded.model.hash,
            "head_hash": self.loaded.card.weights_sha256[:16],
            "task": self.loaded.card.task,
            "source": ", ".join(r.name for r in feed.rasters.values()),
            "gsd": told,
            "conversion": self.options.convert or "none",
            "windows": f"{self.tiling.window} px, stride {self.tiling.stride}" + blend,
            "settings": self.settings,
        }


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
