"""One HDF5 array (N, C, H, W) as a dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ecotone.data.facts import Facts, role_of
from ecotone.data.listing import inside
from ecotone.errors import DataError, nearest
from ecotone.rasters import Declaration
from ecotone.rasters.gsd import check_gsd
from ecotone.samples import Sample

HDF5_SUFFIXES = (".h5", ".hdf5")


class ProcessFile:
    """An HDF5 file that every process opens for itself when it first reads, because handles must not cross a fork.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: Any = None
        self._process = 0

    def opened(self) -> Any:
        """The open file of this process."""
        if self._handle is None or self._process != os.getpid():
            self._handle, self._process = h5py.File(self.path), os.getpid()
        return self._handle

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_handle": None, "_process": 0}


class Hdf5Array:
    """The images of one array in an HDF5 file. Attributes bands, units and gsd of the array complete the declaration.

    Args:
        folder: The dataset's folder.
        facts: What is known about its images; ``file`` and ``dataset`` of its declaration say which array.

    Raises:
        DataError: The file or the array is missing, or of another shape.
    """

    def __init__(self, folder: Path, facts: Facts) -> None:
        declared = facts.declared
        self._file = folder / inside(declared.file or _only_file(folder), folder)
        self._open = ProcessFile(self._file)
        if not self._file.is_file():
            raise DataError(f"there is no file {self._file}", mend="Correct the key file in dataset.yaml.")
        try:
            with h5py.File(self._file) as file:
                self._array = _array_name(file, declared.dataset, self._file)
                array = file[self._array]
                assert isinstance(array, h5py.Dataset)
                self._length = array.shape[0]
                facts = Facts(_completed(declared, dict(array.attrs)), facts.sensor, facts.bands, facts.unit, facts.gsd)
        except OSError as error:
            raise DataError(f"cannot read {self._file}", found=error) from error
        self._facts = facts
        if not self._length:
            raise DataError(f"the array {self._array} of {self._file} is empty")
        first = next(iter(self[0].images.values()))
        self.info = facts.info(folder.name, declared.task or "none", declared.classes, first)

    def __len__(self) -> int:
        return self._length

    def keys(self) -> Sequence[str]:
        return [self._key(i) for i in range(self._length)]

    def labels(self) -> Sequence[str]:
        return [""] * self._length

    def splits(self) -> Sequence[str]:
        return [""] * self._length

    def __getitem__(self, index: int) -> Sample:
        key = self._key(index)
        try:
            values = np.asarray(self._open.opened()[self._array][index])
        except OSError as error:
            raise DataError(f"cannot read {key} of {self._file}", found=error) from error
        image = self._facts.image(values, str(self._file))
        return Sample({role_of(image): image}, key)

    def _key(self, index: int) -> str:
        if not 0 <= index < self._length:
            raise IndexError(index)
        return f"{self._file.name}#{index}"


def _only_file(folder: Path) -> str:
    files = sorted(f.name for f in folder.iterdir() if f.suffix.lower() in HDF5_SUFFIXES)
    if len(files) != 1:
        raise DataError(
            f"{folder} does not say which HDF5 file it means",
            found=", ".join(files) or "none",
            mend="Set file in dataset.yaml.",
        )
    return files[0]


def _array_name(file: h5py.File, wanted: str | None, path: Path) -> str:
    arrays: list[str] = []
    file.visititems(
        lambda name, item: arrays.append(name) if isinstance(item, h5py.Dataset) and item.ndim == 4 else None
    )
    if wanted in arrays:
        return str(wanted)
    if wanted is None and len(arrays) == 1:
        return arrays[0]
    raise DataError(
        f"{path} has no array {wanted!r}" if wanted else f"{path} holds more than one array of images, or none",
        found=", ".join(arrays) or "no array of shape (N, C, H, W)",
        mend=nearest(wanted, arrays) if wanted and arrays else "Set dataset in dataset.yaml.",
    )


def _completed(declared: Declaration, attributes: dict[str, Any]) -> Declaration:
    own = {
        "bands": tuple(b.decode() if isinstance(b, bytes) else str(b) for b in attributes.get("bands", ())),
        "unit": str(attributes["units"]) if "units" in attributes else None,
        "gsd": next((float(attributes[k]) for k in ("gsd", "gsd_m") if k in attributes), None),
    }
    check_gsd(own["gsd"], "the HDF5 file")
    return declared.model_copy(update={k: v for k, v in own.items() if v and not getattr(declared, k)})
