"""Folders of images: pictures, GeoTIFFs, and folders of per-band files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from ecotone.data.facts import Facts, role_of
from ecotone.data.labels import Labels, read_labels
from ecotone.data.listing import Row, choose_split, list_rows
from ecotone.data.pictures import PICTURE_SUFFIXES, decode_picture
from ecotone.errors import DataError
from ecotone.rasters import GsdWarning, open_raster
from ecotone.samples import Image, Place, Sample

TRIES = 8  # files that are looked at to complete the description


class ImageFolder:
    """Images of a folder, with labels where it has them.

    Args:
        folder: The dataset's folder.
        facts: What is known about its images.
        split: Only the samples of this split.

    Raises:
        DataError: The folder is empty or its labels or splits cannot be used; a clear sentence each.
    """

    def __init__(self, folder: Path, facts: Facts, split: str | None = None) -> None:
        self._folder, self._facts = folder, facts
        rows = list_rows(folder)
        self._labels: Labels = read_labels(rows, facts.declared, folder)
        self._rows: list[Row] = choose_split(rows, split, folder)
        self.info = facts.info(folder.name, self._labels.task, self._labels.classes, self._first())

    def __len__(self) -> int:
        return len(self._rows)

    def keys(self) -> Sequence[str]:
        return [row.path for row in self._rows]

    def labels(self) -> Sequence[str]:
        return [row.label for row in self._rows]

    def splits(self) -> Sequence[str]:
        return [row.split for row in self._rows]

    def __getitem__(self, index: int) -> Sample:
        row = self._rows[index]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GsdWarning)  # said once, when the dataset was opened
            image, place = self._read(row)
        if row.place is not None and place is None:
            place = Place(*row.place)
        return Sample({role_of(image): image}, row.path, self._labels.targets(row.label), place)

    def _read(self, row: Row) -> tuple[Image, Place | None]:
        path = self._folder / row.path
        if path.suffix.lower() in PICTURE_SUFFIXES:
            values, colours, opaque = decode_picture(path, str(path))
            return self._facts.image(values, str(path), colours, opaque), None
        if not path.exists():
            raise DataError(f"there is no file {path}")
        with open_raster(
            path,
            sensor=self._facts.sensor,
            bands=self._facts.bands,
            unit=self._facts.unit,
            gsd=self._facts.gsd,
            declared=self._facts.declared,
        ) as raster:
            return raster.read(), raster.place

    def _first(self) -> Image:
        """The first image that can be read. A choice of bands or units that cannot work fails here, not in a worker."""
        errors: list[DataError] = []
        for row in self._rows[:TRIES]:
            try:
                return self._read(row)[0]
            except DataError as error:
                errors.append(error)
        raise errors[0]
