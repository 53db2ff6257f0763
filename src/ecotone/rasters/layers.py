"""Layers: output rasters that grow row by row in a work folder, until they become files for users.

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

import numpy as np
from numpy.typing import NDArray

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
            # Without a buffer, a write that fails leaves nothing behind that closing would have to write.
            mode = "r+b" if self.rows else "w+b"
            self._files = [(folder / f"{layer.name}.bil").open(mode, buffering=0) for layer in self.layers]
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
                rows = np.ascontiguousarray(array.transpose(1, 0, 2), layer.dtype).reshape(-1).view(np.uint8)
                while len(rows):
                    rows = rows[file.write(rows.data) :]
        self.rows += arrays[0].shape[1]
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """See all rows onto the disk and note how many there are."""
        with write_errors(self.folder):
            for file in self._files:
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

    def read(self, layer: Layer, start: int, stop: int) -> NDArray[np.generic]:
        """Rows of one layer (channels, rows, width), after ``close``."""
        width, channels = self.shape[1], len(layer.descriptions)
        offset, count = start * width * layer.row_bytes, (stop - start) * channels * width
        rows = np.fromfile(self.folder / f"{layer.name}.bil", layer.dtype, count, offset=offset)
        return rows.reshape(stop - start, channels, width).transpose(1, 0, 2)

    def remove(self) -> None:
        """Remove the work folder, once the rows are where they belong."""
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
