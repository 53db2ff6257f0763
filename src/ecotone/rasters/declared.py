"""dataset.yaml: what the owner of a folder declares about its files."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from ecotone.errors import DataError
from ecotone.rasters.gsd import check_gsd
from ecotone.rasters.remote import is_remote
from ecotone.sensors import Unit, sensor, unit

DATASET_FILE = "dataset.yaml"


class Declaration(BaseModel):
    """The facts of a ``dataset.yaml``. Keys that are not listed here are kept but mean nothing to Ecotone.

    Attributes:
        name: Name of the dataset.
        task: ``classification``, ``multilabel``, ``regression``, ``segmentation`` … or ``none``.
        label_unit: Unit of the labels of ``regression``, for people.
        format: ``hdf5``, ``webdataset`` or ``mmearth``; absent for folders of images.
        file: The HDF5 file, relative to the folder.
        dataset: The array in the HDF5 file, of shape (N, C, H, W).
        sensor: Name in the sensor registry, or a sensor file relative to the folder.
        bands: Band names in channel order.
        unit: Unit of the stored values, or one unit per band.
        gsd: Metres per pixel.
        level: Processing level.
        classes: Class names, or label value -> class name.
        class_values: For ``segmentation``: the value of each class in the target rasters; by default the keys of
            ``classes`` if these are whole numbers, else 0, 1, 2 …
        ignore: For ``segmentation``: the value of pixels without a label; 255 by default.
        licence: Licence of the imagery.
        split_kind: How the splits were made.
        synthetic: The imagery is procedurally generated.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str | None = None
    task: str | None = None
    label_unit: str | None = None
    format: str | None = None
    file: str | None = None
    dataset: str | None = None
    sensor: str | None = None
    bands: tuple[str, ...] = ()
    unit: str | dict[str, str] | None = None
    gsd: float | None = None
    level: str | None = None
    classes: tuple[str, ...] = ()
    class_values: tuple[int, ...] = ()
    ignore: int | None = None
    licence: str | None = None
    split_kind: str | None = None
    synthetic: bool = False

    @model_validator(mode="before")
    @classmethod
    def _keys(cls, content: Any) -> Any:
        classes = content.get("classes") if isinstance(content, dict) else None
        if isinstance(classes, dict) and all(isinstance(key, int) for key in classes):
            return {"class_values": tuple(classes), **content}
        return content

    @field_validator("classes", mode="before")
    @classmethod
    def _names(cls, classes: Any) -> Any:
        return tuple(str(c) for c in (classes.values() if isinstance(classes, dict) else classes))

    def unit_of(self, bands: tuple[str, ...]) -> Unit | None:
        """The declared unit of these bands.

        Raises:
            DataError: They have different units, so they cannot lie in one image.
        """
        if not isinstance(self.unit, dict):
            return None if self.unit is None else unit(self.unit)
        units = {band: self.unit.get(band) for band in bands}
        if len(set(units.values())) > 1 or None in units.values():
            raise DataError(
                "the bands have different units and cannot lie in one image",
                found=", ".join(f"{band} in {name or 'no declared unit'}" for band, name in units.items()),
                expected="bands of one unit",
                mend="Choose bands of one unit, for example with --bands.",
            )
        return unit(next(iter(units.values())) or "dn")


def read_declaration(path: Path) -> Declaration:
    """Read one ``dataset.yaml``.

    Raises:
        DataError: It is not YAML, a known key is misspelt or holds the wrong kind of value, or the GSD is not above 0.
        SensorError: It names an unknown sensor or unit.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8")) or {}
        found = Declaration.model_validate(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"cannot read {path}", found=" ".join(str(error).split())) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(
            f"{path} has a wrong value at {'.'.join(map(str, first['loc']))}", found=first["msg"]
        ) from error
    for key in found.model_extra or {}:
        near = get_close_matches(key, Declaration.model_fields, n=1, cutoff=0.8)
        if near:
            raise DataError(f"{path} has an unknown key {key!r}", mend=f"Did you mean {near[0]!r}?")
    check_gsd(found.gsd, str(path))
    if found.sensor and found.sensor.endswith((".yaml", ".yml")):
        found = found.model_copy(update={"sensor": str(path.parent / found.sensor)})
    if found.sensor:
        sensor(found.sensor)
    for name in found.unit.values() if isinstance(found.unit, dict) else [found.unit] if found.unit else []:
        unit(name)
    return found


def find_declaration(path: str | Path) -> Declaration:
    """The declaration nearest to a file or folder: in the folder itself or up to two above; else an empty one."""
    if is_remote(str(path)):
        return Declaration()
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    for place in (folder, *folder.resolve().parents[:2]):
        if (place / DATASET_FILE).is_file():
            return read_declaration(place / DATASET_FILE)
    return Declaration()
