"""Two stores of the same places at two dates: which sources share a grid, and which cells they have in common."""

from __future__ import annotations

from dataclasses import dataclass

import pyproj

from ecotone.embeddings.parts import Part
from ecotone.embeddings.schema import StoreFacts
from ecotone.embeddings.store import Store
from ecotone.errors import DataError

_SAME = ("model_hash", "spec_hash", "dimension", "per", "chip", "cell", "step", "conversion")
SLACK = 0.05  # pixels by which two grids may depart from each other anywhere


@dataclass(frozen=True)
class Pair:
    """Two sources on one grid, and the cells that they have in common.

    Attributes:
        before: The source of the first store.
        after: The source of the second.
        shape: Rows and columns of the common cells.
        origins: Row and column of the first common cell in the grids of either.
    """

    before: Part
    after: Part
    shape: tuple[int, int]
    origins: tuple[tuple[int, int], tuple[int, int]]


def pair_up(before: Store, after: Store) -> list[Pair]:
    """All pairs of sources that have cells in common.

    Raises:
        DataError: The stores were not made alike, or no two sources lie on one grid and overlap.
    """
    check_alike(before.facts, after.facts)
    found, reasons = [], []
    for one in before.parts:
        for other in after.parts:
            pair = _common(one, other)
            if isinstance(pair, Pair):
                found.append(pair)
            else:
                reasons.append(pair)
    if not found:
        raise reasons[0]
    return found


def check_alike(one: StoreFacts, other: StoreFacts) -> None:
    """Check that the vectors of two stores compare.

    Raises:
        DataError: They were made by other models or with other settings.
    """
    differ = [n for n in _SAME if getattr(one, n) != getattr(other, n)]
    if differ:
        raise DataError(
            f"the two stores were not made alike, so their vectors do not compare: {' and '.join(differ)} differ",
            found=", ".join(f"{n} {getattr(other, n)}" for n in differ),
            expected=", ".join(f"{n} {getattr(one, n)}" for n in differ),
            mend="Embed both with the same model and the same settings.",
        )


def _common(one: Part, other: Part) -> Pair | DataError:
    """The pair, or why there is none."""
    names = f"{one.raster.name} and {other.raster.name}"
    if pyproj.CRS(one.raster.crs) != pyproj.CRS(other.raster.crs):
        return DataError(
            f"{names} have different CRSs",
            found=other.raster.crs,
            expected=one.raster.crs,
            mend="Warp one of them to the grid of the other and embed it again.",
        )
    a, b = one.raster.affine, other.raster.affine
    longest = max(*one.raster.shape, *other.raster.shape)
    drift = max(abs(x - y) for x, y in zip((a.a, a.b, a.d, a.e), (b.a, b.b, b.d, b.e), strict=True)) * longest
    # A step of the first grid in pixels: columns, then rows.
    inverse = ~a
    col, row = (
        inverse.a * b.c + inverse.b * b.f + inverse.c,
        inverse.d * b.c + inverse.e * b.f + inverse.f,
    )
    step = one.facts.step
    down, right = round(row / step), round(col / step)
    if drift > SLACK * abs(a.determinant) ** 0.5 or max(abs(row - down * step), abs(col - right * step)) > SLACK:
        return DataError(
            f"{names} do not lie on one grid of cells",
            found=f"an offset of {row:g} rows and {col:g} columns, pixels of {abs(b.determinant) ** 0.5:g}",
            expected=f"whole cells of {step} pixels, pixels of {abs(a.determinant) ** 0.5:g}",
            mend="Cut or warp both rasters to one extent and embed them again.",
        )
    top, left = max(0, down), max(0, right)
    height = min(one.grid.size[0], down + other.grid.size[0]) - top
    width = min(one.grid.size[1], right + other.grid.size[1]) - left
    if height < 1 or width < 1:
        return DataError(f"{names} have no area in common", mend="Give two dates of one place.")
    return Pair(one, other, (height, width), ((top, left), (top - down, left - right)))
