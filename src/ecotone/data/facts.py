"""What is known about the images of a dataset: the declaration of its folder, and what the user says on top."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray

from ecotone.data.base import DatasetInfo
from ecotone.rasters import Declaration
from ecotone.rasters.names import Channels, name_channels
from ecotone.rasters.opening import sensor_nodata
from ecotone.rasters.raster import observed
from ecotone.rasters.recognise import Header
from ecotone.samples import Image
from ecotone.sensors import sensor

ROLES = {"backscatter": "sentinel1", "elevation": "dem"}  # by quantity; everything else is optical


@dataclass(frozen=True)
class Facts:
    """Declared facts and the user's choice; the user's word comes first.

    Attributes:
        declared: The dataset's ``dataset.yaml``.
        sensor: The user's sensor.
        bands: Bands wanted, in this order.
        unit: The user's unit of the stored values.
        gsd: The user's metres per pixel.
    """

    declared: Declaration
    sensor: str | None = None
    bands: tuple[str, ...] = ()
    unit: str | None = None
    gsd: float | None = None
    _known: dict[Any, Channels] = field(default_factory=dict, repr=False, compare=False)

    @property
    def declared_gsd(self) -> float | None:
        return self.gsd or self.declared.gsd

    def channels(self, values: NDArray[Any], source: str, colours: tuple[str, ...] = ()) -> Channels:
        """Names and places of the chosen channels of an array (C, H, W) that says nothing but its colours."""
        kind = (len(values), str(values.dtype), colours)
        if kind not in self._known:
            count = len(values)
            unsaid = ("undefined",) * count
            header = Header(source, ("",) * count, colours or unsaid, (None,) * count, (), kind[1])
            self._known[kind] = name_channels(
                header, self.declared, sensor_name=self.sensor, bands=self.bands, unit_name=self.unit
            )
        return self._known[kind]

    def image(
        self, values: NDArray[Any], source: str, colours: tuple[str, ...] = (), opaque: NDArray[Any] | None = None
    ) -> Image:
        """An image of one date from an array (C, H, W) without a georeference.

        Args:
            values: All channels of the file.
            source: The file, for messages.
            colours: Colour of each channel, such as ``red``.
            opaque: (H, W) bool, False where the file is transparent.
        """
        chosen = self.channels(values, source, colours)
        if chosen.indices != tuple(range(len(values))):
            values = values[list(chosen.indices)]
        valid = observed(values, sensor_nodata(chosen.sensor, chosen.unit), chosen.unit)
        valid = valid if opaque is None else valid & opaque
        return Image(
            pixels=torch.from_numpy(values).unsqueeze(0),
            bands=chosen.bands,
            unit=chosen.unit,
            gsd=self.declared_gsd,
            sensor=chosen.sensor,
            valid=None if valid.all() else torch.from_numpy(valid).unsqueeze(0),
            level=chosen.level,
        )

    def info(self, name: str, task: str, classes: tuple[str, ...], first: Image | None) -> DatasetInfo:
        """The description of the dataset, completed by its first readable image."""
        known = self.declared_gsd
        found = first.gsd if first else None
        return DatasetInfo(
            name=self.declared.name or name,
            task=task,
            sensor=first.sensor if first else self.sensor or self.declared.sensor,
            bands=first.bands if first else self.bands or self.declared.bands,
            unit=first.unit.name if first else self.unit,
            gsd=known,
            gsd_source="declared" if known else "georeference" if found else "unknown",
            classes=classes,
            licence=self.declared.licence,
            split_kind=self.declared.split_kind,
            synthetic=self.declared.synthetic,
            label_unit=self.declared.label_unit,
        )


def role_of(image: Image) -> str:
    """The role of an image in a sample: ``optical``, ``sentinel1`` or ``dem``, by the quantity it measures."""
    declared = sensor(image.sensor).physical_unit if image.sensor else image.unit
    return ROLES.get(declared.quantity, "optical")
