"""Whether rasters of one place lie on one grid, and how to put them there."""

from __future__ import annotations

from collections.abc import Mapping

from ecotone.errors import DataError
from ecotone.rasters.raster import Raster

SLACK = 0.01  # pixels by which corners may lie apart: transforms carry rounding noise


def check_one_grid(rasters: Mapping[str, Raster]) -> None:
    """Check that rasters share CRS, size and corners.

    Args:
        rasters: By what they are called in the error, such as their role.

    Raises:
        DataError: One does not lie on the grid of the first; it says what differs, and how to mend it.
    """
    (name, grid), *others = rasters.items()
    for other, raster in others:
        differ = _differences(raster, grid)
        if differ:
            raise DataError(
                f"the {other} raster {raster.paths[0]} does not lie on the grid of the {name} one: "
                f"{' and '.join(differ)} differ",
                found=", ".join(str(mine) for mine, _ in differ.values()),
                expected=", ".join(str(theirs) for _, theirs in differ.values()),
                mend=_mend(raster, grid),
            )


def _differences(raster: Raster, grid: Raster) -> dict[str, tuple[object, object]]:
    """What differs -> as it is in the one and in the other."""
    found: dict[str, tuple[object, object]] = {}
    if raster.crs != grid.crs:
        found["CRS"] = raster.crs, grid.crs
    if raster.shape != grid.shape:
        found["size"] = "{} x {} pixels".format(*raster.shape), "{} x {} pixels".format(*grid.shape)
    slack = SLACK * abs(grid.transform.determinant) ** 0.5
    mine, theirs = _corners(raster), _corners(grid)
    if any(abs(a - b) > slack for a, b in zip(mine, theirs, strict=True)):
        found["corners"] = mine, theirs
    return found


def _corners(raster: Raster) -> tuple[float, ...]:
    """X and y in the CRS of the upper left, upper right and lower left corner."""
    t, (height, width) = raster.transform, raster.shape
    places = ((0, 0), (0, width), (height, 0))
    return tuple(v for row, col in places for v in (t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f))


def _mend(raster: Raster, grid: Raster) -> str:
    """The command that puts a raster onto a grid."""
    if grid.crs is None or grid.bounds is None or not grid.transform.is_rectilinear:
        return "Cut them to the same pixels."
    edges = " ".join(f"{v:.12g}" for v in grid.bounds)
    file = raster.paths[0] if len(raster.paths) == 1 else "FILE"
    size = f"{grid.shape[1]} {grid.shape[0]}"
    return f"Warp it: gdalwarp -t_srs {grid.crs.to_string()} -te {edges} -ts {size} -r bilinear {file} aligned.tif"
