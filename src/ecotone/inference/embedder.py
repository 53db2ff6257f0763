"""Embedder: windows of a raster in, embedding rows out."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ecotone.embeddings import Rows
from ecotone.embeddings.footprints import CellGrid
from ecotone.embeddings.schema import VECTOR_TYPES, Dtype
from ecotone.encoders import Features
from ecotone.errors import DataError, InputError, RecipeError, nearest
from ecotone.inference.feed import Feed, Rasters
from ecotone.inference.windows import Windows, read_windows, seen_windows
from ecotone.inputs import CONVERSIONS, InputSpec
from ecotone.rasters.tiling import Tiling
from ecotone.weights import Model

Per = Literal["chip", "patch"]


@dataclass(frozen=True)
class EmbedOptions:
    """How a raster is cut up and shown to the model.

    Attributes:
        per: One row per chip (the encoder's pooled vector) or per patch (a cell of its deepest map).
        chip: Side in pixels of the windows; None for the size the model was trained at.
        overlap: Pixels by which neighbouring windows overlap; per patch, each cell is taken from the window in which
            it lies nearer to the middle.
        min_valid: Smallest share of valid pixels that a row needs.
        convert: Named display conversion before the model, such as ``rgb8``.
        batch_size: Windows in one forward pass.
        dtype: How a store keeps the vectors: ``float32``, ``float16``, or ``int8`` with one scale per row.
        at_gsd: Metres per pixel to which the raster is resampled first, or ``model`` for the nearest that the model was
            trained for; None leaves it as it is.
    """

    per: Per = "chip"
    chip: int | None = None
    overlap: int = 0
    min_valid: float = 0.5
    convert: str | None = None
    batch_size: int = 32
    dtype: Dtype = "float32"
    at_gsd: float | Literal["model"] | None = None

    def __post_init__(self) -> None:
        if self.per not in ("chip", "patch"):
            raise RecipeError("embeddings are made per chip or per patch", found=self.per)
        if self.convert is not None and self.convert not in CONVERSIONS:
            raise RecipeError(f"unknown display conversion {self.convert!r}", mend=nearest(self.convert, CONVERSIONS))
        if self.dtype not in VECTOR_TYPES:
            raise RecipeError("unknown type of stored vectors", found=self.dtype, expected=", ".join(VECTOR_TYPES))
        if self.batch_size < 1:
            raise RecipeError("the batch size must be at least 1", found=self.batch_size)
        if not 0 <= self.min_valid <= 1:
            raise RecipeError("the share of valid pixels lies between 0 and 1", found=self.min_valid)


class Embedder:
    """A model applied to the windows of one raster, which is checked against the model's InputSpec at once.

    Args:
        model: The model.
        given: The raster; for a model of several roles a raster for each, by role, on one grid.
        options: How to cut it up.

    Attributes:
        feed: The rasters that are embedded, perhaps resampled, and what the model is told of them.
        raster: That of the first role.
        dropped: Cells left out so far because too few of their pixels are valid.
        gsd: Metres per pixel that the model is told; None when unknown.
        gsd_source: Where that number comes from.
        dimension: Length D of a vector.
        cells: The grid of the footprints of the rows.
        tiling: The windows. Those of chips lie on their grid and may reach beyond the raster; those of patches move
            back onto it by whole patches.

    Raises:
        InputError: The raster does not meet the model's InputSpec, or a role has none.
    """

    def __init__(self, model: Model, given: Rasters, options: EmbedOptions) -> None:
        self.model, self.options = model, options
        self.chip = options.chip or model.card.encoder.image_size
        if not 0 <= options.overlap < self.chip:
            raise RecipeError("the overlap must be smaller than a window", found=options.overlap, expected=self.chip)
        self.feed = Feed(model.encoder.spec, given, gsd=options.at_gsd, convert=options.convert)
        self.raster, self.gsd, self.gsd_source = self.feed.raster, self.feed.gsd, self.feed.gsd_source
        self.dropped = 0
        step = self.chip - options.overlap
        self.dimension, self.cells = self._layout(step)
        self.tiling = Tiling(self.raster.shape, self.chip, step, "crop", snap=self.cells.step)
        self._own_rows = self._own(self.tiling.rows, self.tiling.row_weights, self.raster.shape[0])
        self._own_cols = self._own(self.tiling.cols, self.tiling.col_weights, self.raster.shape[1])

    @property
    def extent(self) -> tuple[float, float]:
        """Million pixels and square kilometres of the raster; 0 of the latter without a GSD."""
        mpix = math.prod(self.raster.shape) / 1e6
        return mpix, mpix * (self.gsd or 0) ** 2

    def rows(self, on_progress: Callable[[int, int], None] | None = None) -> Iterator[Rows]:
        """Embeddings in row order, a batch of windows at a time; the next are read while the model runs.

        Args:
            on_progress: Called with the windows done and their total.
        """
        per_chip = self.options.per == "chip"
        least = self.options.min_valid if per_chip else 0.0
        read = read_windows(self.feed.rasters, self.tiling, self.options.batch_size, least=least)
        for windows, vectors in seen_windows(read, self._vectors, self._device, remote=self.feed.remote):
            self.dropped += sum(int(self._owned(n).sum()) for n in windows.numbers(worth=False))
            if windows.worth.any():
                yield self._per_chip(windows, vectors) if per_chip else self._per_patch(windows, vectors)
            if on_progress:
                on_progress(windows.stop, len(self.tiling))

    @property
    def _device(self) -> torch.device:
        weight = next(self.model.encoder.parameters(), None)
        return torch.device("cpu") if weight is None else weight.device

    def _vectors(self, windows: Windows) -> NDArray[np.float32]:
        """(m, D) float32 vectors of the windows that are worth a look, or (m, h, w, D) of their patches."""
        if not windows.valid:
            return np.empty(0, np.float32)
        features = self._encode(windows.pixels, windows.seen)
        if self.options.per == "chip":
            return features.pooled.float().cpu().numpy()
        return features.maps[-1].float().permute(0, 2, 3, 1).cpu().numpy()

    def _encode(self, pixels: Mapping[str, NDArray[Any]], seen: NDArray[np.bool_] | None) -> Features:
        with torch.inference_mode():
            return self.model.encoder(self.feed.batch(pixels, seen).to(self._device))

    def _layout(self, step: int) -> tuple[int, CellGrid]:
        """The length of a vector and the grid of the rows, by what the model makes of a window without data."""
        side = (self.chip, self.chip)
        blank = {role: np.zeros((1, len(r.bands), *side), r.dtype) for role, r in self.feed.rasters.items()}
        probe = self._encode(blank, np.zeros((1, *side), bool))
        if self.options.per == "chip":
            return probe.pooled.shape[1], CellGrid(self.raster.shape, self.chip, step)
        stride = probe.strides[-1]
        if self.chip % stride or step % stride:
            raise InputError(
                "the windows must step by whole patches",
                found=f"windows of {self.chip} pixels with an overlap of {self.options.overlap}",
                expected=f"multiples of {stride}",
            )
        return probe.maps[-1].shape[1], CellGrid(self.raster.shape, stride, stride)

    def _per_chip(self, windows: Windows, vectors: NDArray[np.float32]) -> Rows:
        row, col = self._corners(windows)
        return Rows(
            row=row,
            col=col,
            valid_fraction=windows.share[windows.worth],
            vectors=vectors,
            time=self.raster.time,
        )

    def _per_patch(self, windows: Windows, vectors: NDArray[np.float32]) -> Rows:
        stride, seen = self.cells.cell, windows.seen
        fraction = np.ones(vectors.shape[:3], np.float32)
        if seen is not None:
            fraction = F.avg_pool2d(torch.from_numpy(seen).float()[:, None], stride)[:, 0].numpy()
        owned = np.stack([self._owned(n) for n in windows.numbers()])
        enough = (fraction > 0) & (fraction >= self.options.min_valid)
        self.dropped += int((owned & ~enough).sum())
        n, i, j = np.nonzero(owned & enough)
        row, col = self._corners(windows)
        return Rows(
            row=row[n] + i * stride,
            col=col[n] + j * stride,
            valid_fraction=fraction[n, i, j],
            vectors=vectors[n, i, j],
            time=self.raster.time,
        )

    def _corners(self, windows: Windows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First pixel row and column of the windows that the model sees."""
        row, col = np.divmod(windows.numbers(), len(self.tiling.cols))
        return np.array(self.tiling.rows)[row], np.array(self.tiling.cols)[col]

    def _owned(self, number: int) -> NDArray[np.bool_]:
        """(h, w) bool: cells of a window that lie on the raster and nearer to its middle than to any other's."""
        row, col = divmod(number, len(self.tiling.cols))
        return self._own_rows[row][:, None] & self._own_cols[col]

    def _own(
        self, starts: Sequence[int], weights: Sequence[NDArray[np.float32]], length: int
    ) -> list[NDArray[np.bool_]]:
        """For each window along one axis, which of its cells it owns: those whose middle pixel counts."""
        cell = self.cells.cell
        first = cell * np.arange(self.chip // cell)
        return [(w[cell // 2 :: cell] > 0) & (at + first < length) for at, w in zip(starts, weights, strict=True)]


def spec_hash(spec: InputSpec) -> str:
    """SHA-256 of a spec's canonical JSON, first 16 hexadecimal digits."""
    text = json.dumps(spec.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def nothing_valid(embedder: Embedder) -> DataError:
    """The error for a raster that gives no rows."""
    height, width = embedder.raster.shape
    return DataError(
        f"no part of {embedder.raster.paths[0]} has enough valid pixels to embed",
        found=f"{height} x {width} pixels, all of its windows of {embedder.chip} dropped",
        expected=f"at least {embedder.options.min_valid:.0%} valid pixels in one window",
        mend="Check its no-data value, or lower --min-valid or --chip.",
    )
