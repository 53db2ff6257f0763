"""Answering: bare windows of one raster in, the answers of a predictor out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecotone.heads import Predictor
from ecotone.inference.told import only_role, told_gsd
from ecotone.inputs import CONVERSIONS
from ecotone.rasters import Raster
from ecotone.samples import Batch, ImageBatch

FLIPS = ((), (-1,), (-2,), (-2, -1))  # the axes of the four images that test-time flips make of one


class Answering:
    """A predictor for the windows of one raster.

    Args:
        predictor: The predictor.
        raster: Says what the pixels are.
        convert: Named display conversion before the model, such as ``rgb8``.
        flips: Answer for each window and its three mirror images, and take the mean.

    Attributes:
        gsd: Metres per pixel that the model is told; None when unknown.
        gsd_source: Where that number comes from.
        outputs: Number K of answers.
        workers: How many threads are best given batches to answer; none where the caller's own would only wait for it.
    """

    def __init__(
        self, predictor: Predictor, raster: Raster, *, convert: str | None = None, flips: bool = False
    ) -> None:
        self.predictor, self.raster, self.outputs = predictor, raster, predictor.outputs
        self.role = only_role(predictor.spec)
        self.gsd, self.gsd_source = told_gsd(predictor.spec.roles[self.role], raster)
        self.convert = CONVERSIONS[convert] if convert else None
        self.axes = FLIPS if flips else FLIPS[:1]
        self.device = next(predictor.parameters()).device
        cores = torch.get_num_threads()
        self.workers = 1 if self.device.type != "cpu" else cores if cores > 1 else 0

    def __call__(self, pixels: NDArray[Any], valid: Sequence[NDArray[np.bool_] | None]) -> Tensor:
        """(m, K) answers for images, or (m, K, H, W) for their pixels, on the CPU.

        Args:
            pixels: (m, C, H, W) in the type and unit of the raster.
            valid: For each of them (H, W) bool, or None where everything is observed.

        Raises:
            InputError: The raster does not meet the predictor's InputSpec.
        """
        if not len(pixels):
            return torch.empty(0, self.outputs)
        seen = None
        if any(v is not None for v in valid):
            seen = np.stack([np.ones(pixels.shape[-2:], bool) if v is None else v for v in valid])
        with torch.inference_mode():
            each = [self._answer(pixels, seen, axes) for axes in self.axes]
            return each[0] if len(each) == 1 else torch.stack(each).mean(0)

    def _answer(self, pixels: NDArray[Any], valid: NDArray[np.bool_] | None, axes: tuple[int, ...]) -> Tensor:
        """The answers for images that are mirrored first, mirrored back."""
        if axes:
            pixels = np.ascontiguousarray(np.flip(pixels, axes))
            valid = None if valid is None else np.ascontiguousarray(np.flip(valid, axes))
        n, image = len(pixels), self._image(pixels, valid)
        batch = Batch(images={self.role: image}, keys=("",) * n, seeds=torch.zeros(n, dtype=torch.int64))
        given = self.predictor(batch.to(self.device)).float().cpu()
        return given.flip(axes) if axes and given.ndim == 4 else given

    def _image(self, pixels: NDArray[Any], valid: NDArray[np.bool_] | None) -> ImageBatch:
        raster = self.raster
        image = ImageBatch.of(
            torch.from_numpy(pixels),
            bands=raster.bands,
            unit=raster.unit,
            gsd=self.gsd,
            valid=None if valid is None else torch.from_numpy(valid).unsqueeze(1),
            level=raster.level,
            sensor=raster.sensor,
        )
        if raster.effective_gsd is not None:
            image = replace(image, effective_gsd=torch.full_like(image.gsd, raster.effective_gsd))
        return self.convert(image) if self.convert else image
