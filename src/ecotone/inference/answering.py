"""Answering: bare windows of rasters in, the answers of a predictor out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecotone.heads import Predictor
from ecotone.inference.feed import Feed, Rasters

FLIPS = ((), (-1,), (-2,), (-2, -1))  # the axes of the four images that test-time flips make of one


class Answering:
    """A predictor for the windows of one raster, or of one for each of its roles.

    Args:
        predictor: The predictor.
        given: The raster, or the rasters by role.
        gsd: As for ``Feed``.
        convert: Named display conversion before the model, such as ``rgb8``.
        flips: Answer for each window and its three mirror images, and take the mean.

    Attributes:
        feed: The rasters, and what the model is told of them.
        outputs: Number K of answers.
    """

    def __init__(
        self,
        predictor: Predictor,
        given: Rasters,
        *,
        gsd: float | Literal["model"] | None = None,
        convert: str | None = None,
        flips: bool = False,
    ) -> None:
        self.predictor, self.outputs = predictor, predictor.outputs
        self.feed = Feed(predictor.spec, given, gsd=gsd, convert=convert)
        self.axes = FLIPS if flips else FLIPS[:1]
        self.device = next(predictor.parameters()).device

    def __call__(self, pixels: Mapping[str, NDArray[Any]], seen: NDArray[np.bool_] | None) -> Tensor:
        """(m, K) answers for images, or (m, K, H, W) for their pixels, on the CPU.

        Args:
            pixels: By role (m, C, H, W) in the type and unit of its raster.
            seen: (m, H, W) bool, what was observed; None for everything.

        Raises:
            InputError: The rasters do not meet the predictor's InputSpec.
        """
        if not len(next(iter(pixels.values()))):
            return torch.empty(0, self.outputs)
        with torch.inference_mode():
            each = [self._answer(pixels, seen, axes) for axes in self.axes]
            return each[0] if len(each) == 1 else torch.stack(each).mean(0)

    def _answer(
        self, pixels: Mapping[str, NDArray[Any]], seen: NDArray[np.bool_] | None, axes: tuple[int, ...]
    ) -> Tensor:
        """The answers for images that are mirrored first, mirrored back."""
        if axes:
            pixels = {role: np.ascontiguousarray(np.flip(p, axes)) for role, p in pixels.items()}
            seen = None if seen is None else np.ascontiguousarray(np.flip(seen, axes))
        given = self.predictor(self.feed.batch(pixels, seen).to(self.device)).float().cpu()
        return given.flip(axes) if axes and given.ndim == 4 else given
