"""Tiling: square windows that cover a raster, and how much each counts where they overlap."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ecotone.errors import RecipeError

Blend = Literal["cosine", "linear", "crop"]
BLENDS: tuple[Blend, ...] = get_args(Blend)


@dataclass(frozen=True)
class Tiling:
    """Windows in row order. The last of a row or column is moved back onto the raster, as far as ``snap`` lets it.

    A raster smaller than a window has one window, which does reach beyond it.

    Attributes:
        shape: Height and width of the raster in pixels.
        window: Side of a window in pixels.
        stride: Pixels from one window to the next.
        blend: How a pixel under several windows is made of them: weights that fall off towards the edge of a window
            along a raised ``cosine`` or a ``linear`` ramp as wide as the overlap; or ``crop``, which takes the pixel
            from the window whose middle is nearest.
        snap: Pixels of which the stride, and where each window begins, are multiples: the last windows reach beyond the
            raster by less than these.
    """

    shape: tuple[int, int]
    window: int
    stride: int
    blend: Blend = "cosine"
    snap: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.window:
            raise RecipeError(
                "windows must overlap by less than their side", found=self.window - self.stride, expected=self.window
            )
        if self.blend not in BLENDS:
            raise RecipeError("no such way to blend windows", found=self.blend, expected=", ".join(BLENDS))

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """First pixel row of each row of windows."""
        return self._starts(self.shape[0])

    @cached_property
    def cols(self) -> tuple[int, ...]:
        """First pixel column of each column of windows."""
        return self._starts(self.shape[1])

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)

    @cached_property
    def row_weights(self) -> tuple[NDArray[np.float32], ...]:
        """For each row of windows (window,) float32: how much each of its pixel rows counts."""
        return self._weights(self.rows)

    @cached_property
    def col_weights(self) -> tuple[NDArray[np.float32], ...]:
        """For each column of windows (window,) float32: how much each of its pixel columns counts."""
        return self._weights(self.cols)

    def final_rows(self, row: int) -> int:
        """Pixel rows of the raster that no window after those of this row of windows reaches."""
        return self.rows[row + 1] if row + 1 < len(self.rows) else self.shape[0]

    def _starts(self, length: int) -> tuple[int, ...]:
        last = -(-max(0, length - self.window) // self.snap) * self.snap
        return (*range(0, last, self.stride), last)

    def _weights(self, starts: tuple[int, ...]) -> tuple[NDArray[np.float32], ...]:
        before = (None, *starts[:-1])
        after = (*starts[1:], None)
        return tuple(self._profile(*three) for three in zip(before, starts, after, strict=True))

    def _profile(self, before: int | None, start: int, after: int | None) -> NDArray[np.float32]:
        """Weights along one side of a window between its neighbours; at the edge of the raster they do not fall off."""
        middle = np.arange(self.window) + 0.5
        left = None if before is None else before + self.window - start
        right = None if after is None else start + self.window - after
        if self.blend == "crop":
            low = 0 if left is None else left / 2
            high = self.window if right is None else self.window - right / 2
            return ((low <= middle) & (middle < high)).astype(np.float32)
        rise = np.ones(self.window) if not left else np.clip(middle / left, 0, 1)
        fall = np.ones(self.window) if not right else np.clip((self.window - middle) / right, 0, 1)
        ramp = rise * fall
        return (np.sin(ramp * np.pi / 2) ** 2 if self.blend == "cosine" else ramp).astype(np.float32)
