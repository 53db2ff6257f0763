"""Opening files, and how they lie on one grid."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import rasterio
from rasterio.dtypes import in_dtype_range
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from rasterio.vrt import WarpedVRT

from ecotone.errors import DataError
from ecotone.rasters.remote import is_network, network_settings, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rasterio.io import DatasetReader


_OPENING = Lock()


@contextmanager
def readable(path: str) -> Iterator[None]:
    """Turn GDAL's complaints about one file into a DataError; a file behind a URL is waited for within limits."""
    try:
        with network_settings(path):
            yield
    except (RasterioIOError, OSError) as error:
        reason = str(error.__cause__ or error).replace(path, "the file")
        mend = "Check the address and the network." if is_network(path) else "Check that the file is complete."
        raise DataError(f"cannot read {shown(path)}", found=reason, mend=mend) from error


def open_file(path: str | Path, **options: Any) -> DatasetReader:
    """Open a file without rasterio's warning about one that has no georeference.

    ``catch_warnings`` changes the whole process: threads that open files take turns, and reading does without it.

    Args:
        path: The file.
        options: Those of ``rasterio.open``.

    Raises:
        DataError: The file cannot be read.
    """
    with readable(str(path)), _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, **options)


def open_files(paths: Sequence[str]) -> list[DatasetReader]:
    """Open all files, or none of them.

    Raises:
        DataError: A file cannot be read.
    """
    opened: list[DatasetReader] = []
    try:
        for path in paths:
            opened.append(open_file(path))
    except DataError:
        for file in opened:
            file.close()
        raise
    return opened


def on_one_grid(
    files: Sequence[DatasetReader], nodata: float | None = None, screen: DatasetReader | None = None
) -> list[DatasetReader | WarpedVRT]:
    """All files on the grid of the finest.

    Args:
        files: Images; the coarser ones are interpolated bilinearly.
        nodata: Number that means no observation and is kept out of the interpolation, where a file names none.
        screen: A file of classes or bits, which comes last; its nearest pixels are taken.
    """
    grid = finest(files)
    images = [f if f.shape == grid.shape else _resampled(f, grid, Resampling.bilinear, nodata) for f in files]
    if screen is None:
        return images
    return [*images, screen if screen.shape == grid.shape else _resampled(screen, grid, Resampling.nearest, None)]


def finest(files: Sequence[DatasetReader]) -> DatasetReader:
    """The file with the smallest pixels."""
    return min(files, key=lambda f: abs(f.transform.determinant))


def _resampled(file: DatasetReader, grid: DatasetReader, how: Resampling, nodata: float | None) -> WarpedVRT:
    blank = file.nodata if file.nodata is not None else nodata
    if blank is not None and not in_dtype_range(blank, file.dtypes[0]):
        blank = None  # no pixel can hold it
    return WarpedVRT(
        file,
        crs=grid.crs,
        transform=grid.transform,
        width=grid.width,
        height=grid.height,
        resampling=how,
        src_nodata=blank,
        nodata=blank,
    )


def check_aligned(files: Sequence[DatasetReader]) -> None:
    """Check that files can form one stack.

    Raises:
        DataError: They have different CRSs or extents, or differ in size and have no CRS.
    """
    grid = finest(files)
    for file in files:
        _check_pair(grid, file)


def _check_pair(grid: DatasetReader, file: DatasetReader) -> None:
    slack = 0.01 * abs(grid.transform.determinant) ** 0.5
    if grid.crs is None and file.shape != grid.shape:
        raise DataError(f"{file.name} and {grid.name} differ in size and have no CRS, so they cannot share a grid")
    if file.crs != grid.crs:
        raise DataError(f"{file.name} and {grid.name} have different CRSs", found=file.crs, expected=grid.crs)
    if any(abs(a - b) > slack for a, b in zip(file.bounds, grid.bounds, strict=True)):
        raise DataError(
            f"{file.name} and {grid.name} cover different areas",
            found=tuple(file.bounds),
            expected=tuple(grid.bounds),
            mend="Cut them to the same extent first.",
        )
