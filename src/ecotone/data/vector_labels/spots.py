"""Spots: where samples of a raster lie and what their labels are, before a pixel of it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecotone.data.masks import IGNORED
from ecotone.data.vector_labels.options import LabelOptions
from ecotone.data.vector_labels.plane import Plane, Window


@dataclass(frozen=True)
class Spot:
    """One sample to be.

    Attributes:
        raster: Number of its raster.
        window: Row, column, height and width of its pixels.
        counts: (K,) what it holds of each class: pixels of a mask; one for each class of a chip.
        pixel: Row and column of the pixel that its label is about; None for the whole window.
    """

    raster: int
    window: Window
    counts: tuple[int, ...]
    pixel: tuple[int, int] | None = None

    @property
    def codes(self) -> tuple[int, ...]:
        """Indices of its classes."""
        return tuple(i for i, n in enumerate(self.counts) if n)


def mask_spots(number: int, plane: Plane, options: LabelOptions, counts: Counter[str]) -> Iterator[Spot]:
    """Tiles of which at least one pixel is labelled."""
    for window in plane.windows(options.side):
        found = _histogram(plane, window)
        if not sum(found):
            counts["unlabelled"] += 1
            continue
        yield Spot(number, window, found)


def chip_spots(number: int, plane: Plane, options: LabelOptions, counts: Counter[str]) -> Iterator[Spot]:
    """Tiles over polygons that have a class by the rule."""
    for window in plane.windows(options.side):
        found = _histogram(plane, window)
        codes = _codes(plane, window, found, options)
        if codes is None:
            counts["unlabelled" if not sum(found) else "undecided"] += 1
            continue
        yield Spot(number, window, _one_hot(codes, len(found)))


def point_spots(number: int, plane: Plane, options: LabelOptions, counts: Counter[str]) -> Iterator[Spot]:
    """A chip around each point; where there is a background, also the tiles without a point.

    At the raster's edge the chip is moved so that it lies within. Of points in one pixel the last one counts.
    """
    height, width = plane.raster.shape
    pixels, side = plane.pixels(), options.side
    inside = (pixels >= 0).all(1) & (pixels < (height, width)).all(1)
    found = {
        (int(r), int(c)): int(code) for (r, c), code in zip(pixels[inside], plane.shapes.codes[inside], strict=True)
    }
    counts["same pixel"] += int(inside.sum()) - len(found)
    classes = len(plane.shapes.classes)
    for (row, col), code in found.items():
        top, left = (min(max(at - side // 2, 0), n - side) for at, n in ((row, height), (col, width)))
        yield Spot(number, (top, left, side, side), _one_hot([code], classes), (row, col))
    if not plane.shapes.background:
        return
    for window in plane.windows(side):
        seen = _histogram(plane, window)
        if seen[0] == side * side:
            yield Spot(number, window, _one_hot([0], classes))


def pixel_spots(
    number: int, plane: Plane, options: LabelOptions, counts: Counter[str], side: int = 512
) -> Iterator[Spot]:
    """Sampled pixels of each class around which a chip fits; memory is bounded by the limit, not by the raster.

    Without a distance between samples as many as the limit are drawn, each pixel of a class alike; with one, twenty
    times as many, of which some will be too near to others.
    """
    want = (options.most or 0) * (20 if options.min_distance else 1)
    drawn: dict[int, NDArray[np.float64]] = {}  # class -> (m, 3) random key, row, column
    for window in plane.windows(side, cover=True):
        codes = plane.burn(window)
        if (codes == IGNORED).all():
            continue
        image = plane.raster.read(window)
        if image.valid is not None:
            gone = ~image.valid[0].numpy()
            counts["pixels on nodata"] += int((gone & (codes != IGNORED)).sum())
            codes[gone] = IGNORED
        keys = np.random.default_rng([options.seed, number, *window[:2]]).random(codes.shape)
        for code in np.unique(codes[codes != IGNORED]).tolist():
            found = _fitting(codes == code, keys, window, plane.raster.shape, options.side // 2)
            known = np.concatenate([drawn[code], found]) if code in drawn else found
            drawn[code] = known[np.argsort(known[:, 0], kind="stable")[:want]]
    for code, table in drawn.items():
        for row, col in table[:, 1:].astype(int).tolist():
            top, left = row - options.side // 2, col - options.side // 2
            hot = _one_hot([code], len(plane.shapes.classes))
            yield Spot(number, (top, left, options.side, options.side), hot, (row, col))


def _fitting(
    mine: NDArray[np.bool_], keys: NDArray[np.float64], window: Window, shape: tuple[int, int], half: int
) -> NDArray[np.float64]:
    """(m, 3) key, row and column of the marked pixels of a window around which a chip fits."""
    rows, cols = np.nonzero(mine)
    at = np.stack([rows + window[0], cols + window[1]], 1)
    fits = ((at >= half) & (at < np.array(shape) - half)).all(1)
    return np.concatenate([keys[rows, cols][fits, None], at[fits].astype(float)], 1)


def _codes(plane: Plane, window: Window, found: tuple[int, ...], options: LabelOptions) -> list[int] | None:
    """The classes of a tile by the rule, none of them for the background; or None if it stays without a label."""
    area = window[2] * window[3]
    if options.rule == "centre":
        code = int(plane.burn((window[0] + window[2] // 2, window[1] + window[3] // 2, 1, 1))[0, 0])
        return [code] if code != IGNORED and found[code] >= options.cover * area else None
    if options.rule == "majority":
        code = int(np.argmax(found))
        return [code] if found[code] and found[code] >= options.cover * area else None
    first = int(plane.shapes.background)
    enough = [i for i in range(first, len(found)) if found[i] and found[i] >= options.cover * area]
    if enough:
        return enough
    return [0] if first and found[0] == area else None


def _histogram(plane: Plane, window: Window) -> tuple[int, ...]:
    codes = plane.burn(window)
    found = np.bincount(codes[codes != IGNORED], minlength=len(plane.shapes.classes))
    return tuple(found.tolist())


def _one_hot(codes: list[int], classes: int) -> tuple[int, ...]:
    return tuple(int(i in codes) for i in range(classes))
