"""Embedder: windows of a raster in, embedding rows out."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from ecotone.embeddings import Rows
from ecotone.embeddings.footprints import CellGrid
from ecotone.embeddings.schema import VECTOR_TYPES, Dtype
from ecotone.encoders import Features
from ecotone.errors import DataError, InputError, RecipeError, nearest
from ecotone.inference.ahead import ahead
from ecotone.inference.told import only_role, resampled_for, told_gsd
from ecotone.inference.windows import Chip, read_chips
from ecotone.inputs import CONVERSIONS, InputSpec
from ecotone.rasters import Raster
from ecotone.samples import Batch, Sample, collate
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
    """A model applied to the windows of one raster. The raster is checked against the model's InputSpec at once.

    Args:
        model: The model.
        raster: The raster; the one that is embedded, perhaps resampled, is the attribute of this name.
        options: How to cut it up.

    Attributes:
        dropped: Cells left out so far because too few of their pixels are valid.
        gsd: Metres per pixel that the model is told; None when unknown.
        gsd_source: Where that number comes from.
        dimension: Length D of a vector.
        cells: The grid of the footprints of the rows.

    Raises:
        InputError: The raster does not meet the model's InputSpec.
    """

    def __init__(self, model: Model, raster: Raster, options: EmbedOptions) -> None:
        self.role = only_role(model.encoder.spec)
        raster = resampled_for(model.encoder.spec.roles[self.role], raster, options.at_gsd)
        self.model, self.raster, self.options = model, raster, options
        self.chip = options.chip or model.card.encoder.image_size
        if not 0 <= options.overlap < self.chip:
            raise RecipeError("the overlap must be smaller than a window", found=options.overlap, expected=self.chip)
        self.windows = CellGrid(raster.shape, self.chip, self.chip - options.overlap)
        self.gsd, self.gsd_source = told_gsd(model.encoder.spec.roles[self.role], raster)
        self.dropped = 0
        probe = self._encode([Chip(0, 0, raster.read((0, 0, self.chip, self.chip)))])
        self.dimension, self.cells = self._layout(probe)

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
        total, done = math.prod(self.windows.size), 0
        chips = read_chips(self.raster, self.windows, self.options.batch_size)
        groups = iter(lambda: list(islice(chips, self.options.batch_size)), [])
        for group in ahead(groups):
            seen = [c for c in group if self._worth(c)]
            if seen:
                features = self._encode(seen)
                yield self._per_chip(seen, features) if self.options.per == "chip" else self._per_patch(seen, features)
            done += len(group)
            if on_progress:
                on_progress(done, total)

    def _worth(self, chip: Chip) -> bool:
        """Whether any row can come of a window; if not, its cells count as dropped."""
        share = float(chip.valid.float().mean())
        if share > 0 and (self.options.per == "patch" or share >= self.options.min_valid):
            return True
        self.dropped += 1 if self.options.per == "chip" else int(self._owned(chip).sum())
        return False

    def _encode(self, chips: Sequence[Chip]) -> Features:
        told = {"gsd": self.gsd, "effective_gsd": self.gsd} if self.gsd_source == "assumed" else {}
        batch = collate([Sample({self.role: replace(c.image, **told)}, key=f"{c.row},{c.col}") for c in chips])
        if self.options.convert:
            batch = batch.replace_images(**{self.role: CONVERSIONS[self.options.convert](batch[self.role])})
        return self._forward(batch)

    def _forward(self, batch: Batch) -> Features:
        encoder = self.model.encoder
        weight = next(encoder.parameters(), None)
        with torch.inference_mode():
            return encoder(batch if weight is None else batch.to(weight.device))

    def _layout(self, probe: Features) -> tuple[int, CellGrid]:
        if self.options.per == "chip":
            return probe.pooled.shape[1], self.windows
        stride = probe.strides[-1]
        if self.windows.step % stride:
            raise InputError(
                "the windows must step by whole patches",
                found=f"windows of {self.chip} pixels with an overlap of {self.options.overlap}",
                expected=f"multiples of {stride}",
            )
        return probe.maps[-1].shape[1], CellGrid(self.raster.shape, stride, stride)

    def _per_chip(self, chips: Sequence[Chip], features: Features) -> Rows:
        return Rows(
            row=np.array([c.row for c in chips]),
            col=np.array([c.col for c in chips]),
            valid_fraction=np.array([float(c.valid.float().mean()) for c in chips]),
            vectors=features.pooled.float().cpu().numpy(),
            time=next(iter(chips[0].image.times), None),
        )

    def _per_patch(self, chips: Sequence[Chip], features: Features) -> Rows:
        stride = self.cells.cell
        vectors = features.maps[-1].float().permute(0, 2, 3, 1).cpu().numpy()
        fraction = F.avg_pool2d(torch.stack([c.valid for c in chips]).float()[:, None], stride)[:, 0].numpy()
        owned = np.stack([self._owned(c) for c in chips])
        enough = (fraction > 0) & (fraction >= self.options.min_valid)
        self.dropped += int((owned & ~enough).sum())
        n, i, j = np.nonzero(owned & enough)
        return Rows(
            row=np.array([c.row for c in chips])[n] + i * stride,
            col=np.array([c.col for c in chips])[n] + j * stride,
            valid_fraction=fraction[n, i, j],
            vectors=vectors[n, i, j],
            time=next(iter(chips[0].image.times), None),
        )

    def _owned(self, chip: Chip) -> np.ndarray:
        """(h, w) bool: cells that lie on the raster and nearer to the middle of this window than of any other."""
        row, col = (self._owned_along(axis, start) for axis, start in enumerate((chip.row, chip.col)))
        return row[:, None] & col[None, :]

    def _owned_along(self, axis: int, start: int) -> np.ndarray:
        stride, margin = self.cells.cell, self.options.overlap / 2
        first = start + stride * np.arange(self.chip // stride)
        last_start = (self.windows.size[axis] - 1) * self.windows.step
        low = -math.inf if start == 0 else start + margin
        high = math.inf if start == last_start else start + self.chip - margin
        middle = first + stride / 2
        return (low <= middle) & (middle < high) & (first < self.raster.shape[axis])


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
