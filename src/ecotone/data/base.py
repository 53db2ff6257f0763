"""What every dataset is: a described, indexable collection of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ecotone.modalities import Modality
from ecotone.samples import Sample


@dataclass(frozen=True)
class DatasetInfo:
    """The facts of a dataset folder: ``dataset.yaml`` completed by what the user declares.

    Attributes:
        name: Name of the dataset.
        task: ``classification``, ``multilabel``, ``regression``, ``segmentation`` … or ``none``.
        sensor: Name in the sensor registry; None when the files say it themselves.
        bands: Band names in channel order; empty when the files name them.
        unit: Name of the unit of the stored values; None for the sensor's.
        gsd: Metres per pixel; None when the files' own georeference gives it.
        gsd_source: ``declared``, ``georeference`` or ``unknown``.
        classes: Class names; a label is an index into them.
        licence: Licence of the imagery.
        split_kind: How the splits were made, such as ``random`` or ``spatial blocks``.
        synthetic: The imagery is procedurally generated.
        label_unit: Unit of the labels of ``regression``.
    """

    name: str
    task: str = "none"
    sensor: str | None = None
    bands: tuple[str, ...] = ()
    unit: str | None = None
    gsd: float | None = None
    gsd_source: str = "unknown"
    classes: tuple[str, ...] = ()
    licence: str | None = None
    split_kind: str | None = None
    synthetic: bool = False
    label_unit: str | None = None


@runtime_checkable
class Dataset(Protocol):
    """A map-style dataset. Items are independent of each other and of the order in which they are read.

    ``dataset[i]`` returns a Sample whose targets hold ``label`` (an int) where the dataset has classes, and raises
    DataError for a file that cannot be read. Objects are picklable, so that worker processes may read them whether
    they fork or spawn.
    """

    info: DatasetInfo

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def keys(self) -> Sequence[str]:
        """One key per sample, without reading pixels."""
        ...

    def splits(self) -> Sequence[str]:
        """The split of each sample (empty strings if there are none), without reading pixels."""
        ...

    def labels(self) -> Sequence[str]:
        """One label per sample as written in the manifest (empty strings if there are none), without reading pixels."""
        ...


@runtime_checkable
class Drawn(Protocol):
    """A dataset whose samples are drawn at random when training reads them, such as a crop of a large image."""

    def draw(self, index: int, seed: int) -> Sample:
        """The sample as this seed draws it; the same for the same seed."""
        ...


def modalities_of(dataset: Dataset) -> Mapping[str, Modality]:
    """The modalities that a dataset offers for prediction, by name; none for most datasets.

    A dataset that has some says so by an attribute ``modalities``; a dataset around another one passes it through.
    """
    return getattr(dataset, "modalities", {})
