"""Layer: an output raster that is written row by row into a work folder, and finished as a cloud-optimised GeoTIFF.

Rows lie uncompressed in the work folder until the last is there: only so can a killed run go on where it was, and only
so can the compressed file come out the same to the byte.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.dtypes import _gdal_typename
from rasterio.errors import RasterioError

from ecotone.errors import DataError
from ecotone.files import replacing, write_errors

STATE = "state.json"
SAVE_SECONDS = 5.0  # between two moments from which a killed run can go on


@dataclass(frozen=True)
class Layer:
    """What one output raster holds.

    Attributes:
        name: Name of its file in the work folder.
        dtype: numpy's name of the type of its values.
        descriptions: One band description per channel.
        nodata: Number that means no answer.
        scale: What a stored number is multiplied by to give its value; None where it is the value.
        unit: Unit of the values.
        colours: Class value -> (red, green, blue), 0-255, for one channel of 8-bit classes.
        tags: Metadata of the file.
    """

    name: str
    dtype: str
    descriptions: tuple[str, ...]
    nodata: float
    scale: float | None = None
    unit: str = ""
    colours: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of one pixel's width."""
        return len(self.descriptions) * np.dtype(self.dtype).itemsize


class Layers:
    """The output rasters of one run on one grid, complete up to ``rows``.

    Args:
        folder: The work folder; what a run with the same settings left there is gone on with, anything else removed.
        layers: What is written.
        shape: Height and width of the grid.
        settings: All that decides the values: a text that two runs share only if they write the same.
    """

    def __init__(self, folder: Path, layers: Sequence[Layer], shape: tuple[int, int], settings: str) -> None:
        self.folder, self.layers, self.shape, self.settings = folder, tuple(layers), shape, settings
        self.rows = self._left_over()
        if not self.rows:
            shutil.rmtree(folder, ignore_errors=True)
        with write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._files = [open(folder / f"{a.name}.bil", "r+b" if self.rows else "w+b") for a in self.layers]  # noqa: SIM115, PTH123
        for layer, file in zip(self.layers, self._files, strict=True):
            file.truncate(self.rows * shape[1] * layer.row_bytes)
            file.seek(0, os.SEEK_END)
        self._saved = time.monotonic()

    def append(self, arrays: Sequence[NDArray[np.generic]]) -> None:
        """Write the next rows, one array (channels, rows, width) for each layer.

        Raises:
            DataError: The disk is full.
        """
        with write_errors(self.folder):
            for layer, file, array in zip(self.layers, self._files, arrays, strict=True):
                file.write(np.ascontiguousarray(array.transpose(1, 0, 2), layer.dtype).data)
        self.rows += arrays[0].shape[1]
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """See all rows onto the disk and note how many there are."""
        with write_errors(self.folder):
            for file in self._files:
                file.flush()
                os.fsync(file.fileno())
            with replacing(self.folder / STATE) as temporary:
                temporary.write_text(json.dumps({"settings": self.settings, "rows": self.rows}))
        self._saved = time.monotonic()

    def close(self) -> None:
        """Note how far it came and close the files."""
        try:
            self.save()
        finally:
            for file in self._files:
                file.close()

    def finish(self, paths: Sequence[Path], crs: CRS | None, transform: Affine) -> None:
        """Turn every layer into a cloud-optimised GeoTIFF, all of them or none, and remove the work folder.

        Raises:
            DataError: A file cannot be written.
        """
        self.close()
        made = []
        for layer in self.layers:
            made.append(self.folder / f"{layer.name}.tif")
            source = self.folder / f"{layer.name}.vrt"
            source.write_text(_vrt(layer, self.shape, crs, transform), "utf-8")
            _copy_cog(source, made[-1], resampling="average" if layer.scale or layer.dtype == "float32" else "mode")
        for temporary, path in zip(made, paths, strict=True):
            with replacing(path) as partial:
                temporary.replace(partial)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Layers:
        return self

    def __exit__(self, *error: object) -> None:
        if any(not file.closed for file in self._files):
            self.close()

    def _left_over(self) -> int:
        """Rows that a run with the same settings has left."""
        try:
            state = json.loads((self.folder / STATE).read_text())
        except (OSError, json.JSONDecodeError):
            return 0
        rows = int(state["rows"]) if state.get("settings") == self.settings else 0
        sizes = [(self.folder / f"{a.name}.bil", a.row_bytes * self.shape[1] * rows) for a in self.layers]
        return rows if all(file.is_file() and file.stat().st_size >= size for file, size in sizes) else 0


def _copy_cog(source: Path, path: Path, *, resampling: str) -> None:
    options = {"compress": "deflate", "blocksize": 512, "overview_resampling": resampling, "bigtiff": "if_safer"}
    try:
        with write_errors(path):
            rasterio.shutil.copy(source, path, driver="COG", num_threads="all_cpus", **options)
    except RasterioError as error:
        raise DataError(
            f"cannot write {path}", found=" ".join(str(error).split()), mend="Free some space, or write elsewhere."
        ) from error


def _vrt(layer: Layer, shape: tuple[int, int], crs: CRS | None, transform: Affine) -> str:
    """GDAL's description of the raw rows (https://gdal.org/drivers/raster/vrt.html): lines of all channels in turn."""
    (height, width), size = shape, np.dtype(layer.dtype).itemsize
    where = "" if crs is None else f"<SRS>{escape(crs.to_wkt())}</SRS>"
    if not transform.is_identity:
        where += f"<GeoTransform>{', '.join(map(repr, transform.to_gdal()))}</GeoTransform>"
    tags = "".join(f"<MDI key={quoteattr(k)}>{escape(v)}</MDI>" for k, v in sorted(layer.tags.items()))
    bands = "".join(
        f'<VRTRasterBand dataType="{_gdal_typename(layer.dtype)}" band="{i}" subClass="VRTRawRasterBand">'
        f"<Description>{escape(text)}</Description>{_meaning(layer)}"
        f'<SourceFilename relativeToVRT="1">{layer.name}.bil</SourceFilename>'
        f"<ImageOffset>{(i - 1) * width * size}</ImageOffset><PixelOffset>{size}</PixelOffset>"
        f"<LineOffset>{layer.row_bytes * width}</LineOffset><ByteOrder>LSB</ByteOrder></VRTRasterBand>"
        for i, text in enumerate(layer.descriptions, 1)
    )
    head = f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{where}'
    return f"{head}<Metadata>{tags}</Metadata>{bands}</VRTDataset>"


def _meaning(layer: Layer) -> str:
    """What the numbers of a band mean; colours of values that are none are black, as GDAL's tables have no gaps."""
    parts = f"<NoDataValue>{layer.nodata}</NoDataValue>"
    if layer.unit:
        parts += f"<UnitType>{escape(layer.unit)}</UnitType>"
    if layer.scale:
        parts += f"<Offset>0</Offset><Scale>{layer.scale!r}</Scale>"
    if layer.colours:
        entries = (layer.colours.get(i) for i in range(256))
        table = "".join('<Entry c1="{}" c2="{}" c3="{}" c4="255"/>'.format(*(c or (0, 0, 0))) for c in entries)
        parts += f"<ColorInterp>Palette</ColorInterp><ColorTable>{table}</ColorTable>"
    return parts
