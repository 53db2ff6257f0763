"""Raster: a georeferenced image of any size, read by windows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.vrt import WarpedVRT

from ecotone.errors import DataError
from ecotone.rasters.files import on_one_grid, open_files, readable
from ecotone.rasters.gsd import grid_place
from ecotone.rasters.quality import Screen
from ecotone.samples import Image, Place
from ecotone.sensors import Unit

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

Rows = tuple[tuple[int, int], tuple[int, int]]  # rasterio's windows: first and last row, first and last column


@dataclass
class Raster:
    """Chosen bands of one file, or of several on one grid. Open files belong to one process and are not pickled.

    Attributes:
        paths: The files.
        shape: Height and width of the (finest) grid in pixels.
        crs: CRS of the grid.
        transform: Pixel (column, row) to CRS coordinates.
        bands: Band names, in the order of the channels that ``read`` returns.
        unit: Unit of the pixels; ``dn`` where nobody says.
        sensor: Name of the sensor in the registry.
        level: Processing level.
        gsd: Metres per pixel of the grid. Bands of coarser files are interpolated onto it.
        gsd_source: ``georeference``, ``declared``, ``resampled`` or ``unknown``.
        nodata: Stored number that means no observation.
        dtype: numpy's name of the type of the values.
        place: Centre and bounds; None without a georeference.
        channels: For each band its file and the channel there, counted from 1.
        masks: Files whose own mask or transparency says where they are valid.
        name: Name of the product, of the file, or of the folder of several files.
        time: Acquisition time, where the product says it.
        origin: What a product's metadata says that bears on the pixels, such as its offset, by the metadata's names.
        screen: The quality layer whose clouds or snow are not valid.
        effective_gsd: Metres of detail where the grid is finer than the source; None where it is the GSD, which is that
            of the finest band.
    """

    paths: tuple[str, ...]
    shape: tuple[int, int]
    crs: CRS | None
    transform: Affine
    bands: tuple[str, ...]
    unit: Unit
    sensor: str | None
    level: str | None
    gsd: float | None
    gsd_source: str
    nodata: float | None
    dtype: str
    place: Place | None
    channels: tuple[tuple[int, int], ...]
    masks: tuple[int, ...] = ()
    name: str = ""
    time: datetime | None = None
    origin: Mapping[str, str] = field(default_factory=dict)
    screen: Screen | None = None
    effective_gsd: float | None = None
    _files: list[Any] = field(default_factory=list, repr=False, compare=False)
    _process: int = field(default=0, repr=False, compare=False)

    @property
    def bounds(self) -> tuple[float, float, float, float] | None:
        """Left, bottom, right and top in the CRS; None without a georeference."""
        return self.place.bounds if self.place else None

    def place_at(self, window: tuple[int, int, int, int]) -> Place | None:
        """Centre and bounds of a window (row, column, height, width); None without a georeference."""
        return grid_place(self.crs, self.transform, window[2:], window[:2])

    @property
    def mask(self) -> str | None:
        """What the quality layer leaves out, such as ``clouds,snow``."""
        return ",".join(self.screen.conditions) if self.screen else None

    @property
    def block_rows(self) -> int:
        """Pixel rows of the blocks in which the files are stored, such as 512 for tiles; of several, the tallest."""
        return max(int(file.block_shapes[0][0]) for file in self._opened())

    def read(self, window: tuple[int, int, int, int] | None = None) -> Image:
        """Read a window (row, column, height, width), or everything.

        Pixels outside the raster are no-data and not valid.

        Returns:
            Pixels (1, C, height, width) in the stored type. A pixel is valid unless all its bands hold no-data, or a
            mask excludes it, or one band is NaN or holds a no-data value that no dark surface has: one other than zero,
            or zero in a unit with an offset.

        Raises:
            DataError: The window is empty, or the file cannot be read.
        """
        row, col, height, width = window or (0, 0, *self.shape)
        if height < 1 or width < 1:
            raise DataError("a window needs a height and width of at least one pixel", found=f"{height} x {width}")
        top, left = max(row, 0), max(col, 0)
        bottom, right = min(row + height, self.shape[0]), min(col + width, self.shape[1])
        inside: Rows | None = ((top, bottom), (left, right)) if bottom > top and right > left else None
        if inside and inside == ((row, row + height), (col, col + width)):
            values, valid = self._read(inside)
        else:
            values = np.full((len(self.bands), height, width), self.blank, self.dtype)
            valid = np.zeros((height, width), bool)
            if inside:
                part = (slice(top - row, bottom - row), slice(left - col, right - col))
                values[:, *part], valid[part] = self._read(inside)
        return Image(
            pixels=torch.from_numpy(values).unsqueeze(0),
            bands=self.bands,
            unit=self.unit,
            gsd=self.gsd,
            effective_gsd=self.effective_gsd,
            sensor=self.sensor,
            valid=None if valid.all() else torch.from_numpy(valid).unsqueeze(0),
            level=self.level,
            times=(self.time,) if self.time else (),
        )

    def read_rows(self, start: int, stop: int, out: NDArray[Any]) -> NDArray[np.bool_]:
        """Read full rows into an array (C, stop - start, width) of the stored type, and say where they are valid.

        Raises:
            DataError: The file cannot be read.
        """
        return self._read_into(out, ((start, stop), (0, self.shape[1])))

    def _read(self, window: Rows) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        values = np.empty((len(self.bands), *(stop - start for start, stop in window)), self.dtype)
        return values, self._read_into(values, window)

    def _read_into(self, values: NDArray[Any], window: Rows) -> NDArray[np.bool_]:
        valid = np.ones(values.shape[1:], bool)
        images = self._opened()[: len(self.paths)]
        for number, file in enumerate(images):
            mine = [i for i, (n, _) in enumerate(self.channels) if n == number]
            with readable(self.paths[number]):
                if mine == list(range(len(values))):
                    file.read([self.channels[i][1] for i in mine], window=window, out=values)
                elif mine:
                    values[mine] = file.read([self.channels[i][1] for i in mine], window=window)
                if number in self.masks:
                    valid &= file.dataset_mask(window=window) > 0
        if self.screen:
            with readable(self.screen.path):
                valid &= ~self.screen.hides(self._opened()[-1].read(self.screen.channels, window=window))
        return valid & observed(values, self.nodata, self.unit)

    @property
    def blank(self) -> float:
        """What stands where there is no observation."""
        return 0 if self.nodata is None else self.nodata

    def _opened(self) -> list[Any]:
        # GDAL handles must not cross a fork: the processes would share one file position.
        if not self._files or self._process != os.getpid():
            self.adopt(open_files([*self.paths, *([self.screen.path] if self.screen else [])]))
        return self._files

    def adopt(self, files: Sequence[DatasetReader]) -> None:
        """Read from these open files, those of ``paths`` and of the screen, and close them in the end."""
        count = len(self.paths)
        self._files = on_one_grid(files[:count], self.nodata, *files[count:])
        self._process = os.getpid()

    def close(self) -> None:
        """Close the files; a later read opens them again."""
        if self._process == os.getpid():
            for file in self._files:
                file.close()
                if isinstance(file, WarpedVRT):
                    file.src_dataset.close()
        self._files = []

    def __enter__(self) -> Raster:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": [], "_process": 0}


def observed(values: NDArray[Any], nodata: float | None, unit: Unit) -> NDArray[np.bool_]:
    """Which pixels (H, W) of values (C, H, W) were observed, by the no-data value and NaN."""
    good = np.ones(values.shape[1:], bool)
    if values.dtype.kind == "f":
        for band in values:
            good &= ~np.isnan(band)
    if nodata is None or np.isnan(nodata):
        return good
    # Band by band: masks of all bands at once would cost several times the memory and time.
    if nodata != 0 or unit.offset != 0:  # a zero is a dark value too, unless the stored numbers begin elsewhere
        for band in values:
            good &= band != nodata
        return good
    some = np.zeros_like(good)
    for band in values:
        some |= band != 0
    return good & some
