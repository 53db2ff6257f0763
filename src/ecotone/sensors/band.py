"""Band and Sensor: what each channel of an image physically is."""

from __future__ import annotations

from functools import cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ecotone.errors import SensorError, nearest
from ecotone.sensors.units import Unit, unit


class Band(BaseModel):
    """One channel with physical meaning.

    Attributes:
        name: The sensor's own name, such as ``B8A``.
        common_name: The role it plays in any sensor, such as ``red`` or ``nir`` (STAC eo extension).
        wavelength: Centre wavelength in nm; absent for radar and elevation.
        bandwidth: Full width at half maximum in nm.
        polarisation: Radar polarisation such as ``VV``.
        gsd: Native ground sample distance in m.
        aliases: Other names under which files carry this band.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    common_name: str | None = None
    wavelength: float | None = Field(default=None, gt=0)
    bandwidth: float | None = Field(default=None, gt=0)
    polarisation: Literal["VV", "VH", "HH", "HV"] | None = None
    gsd: float | None = Field(default=None, gt=0)
    aliases: tuple[str, ...] = ()


class Sensor(BaseModel):
    """An ordered set of bands plus the digital-number convention of the product.

    Attributes:
        name: The registry's name, such as ``sentinel2-l2a``.
        title: The name a person would use.
        unit: Unit of the stored numbers.
        nodata: Stored number that means no observation.
        level: Processing level, such as ``L2A``.
        bands: In the product's own order.
        source: Where these facts come from.
        aliases: Words by which file names and headers mean this sensor, such as ``MSIL2A`` or ``Landsat ETM``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    unit: str
    nodata: float | None = None
    level: str | None = None
    bands: tuple[Band, ...] = Field(min_length=1)
    source: str
    aliases: tuple[str, ...] = ()

    @field_validator("unit")
    @classmethod
    def _known_unit(cls, name: str) -> str:
        return unit(name).name

    @property
    def physical_unit(self) -> Unit:
        return unit(self.unit)

    @property
    def band_names(self) -> tuple[str, ...]:
        return tuple(b.name for b in self.bands)

    def band(self, name: str) -> Band:
        """The band of this name or alias (upper and lower case and a padding zero, as in ``B02``, do not matter).

        Raises:
            SensorError: The sensor has no such band.
        """
        found = self.find(name)
        if found is None:
            raise SensorError(f"sensor {self.name} has no band {name!r}", mend=nearest(name, self.band_names))
        return found

    def find(self, name: str) -> Band | None:
        """The band of this name or alias, as in ``band``; None if there is none."""
        wanted = plain_band_name(name)
        return next((b for b in self.bands if wanted in {plain_band_name(n) for n in (b.name, *b.aliases)}), None)

    def common(self, common_name: str) -> Band | None:
        """The first band that plays this role, such as ``red``; None if there is none."""
        return next((b for b in self.bands if b.common_name == common_name), None)


@cache  # asked for every band of every batch
def plain_band_name(name: str) -> str:
    """``B02``, ``b2`` and ``B2`` are one name: upper case, no zero after the letters, no blanks."""
    text = name.strip().upper().replace(" ", "")
    head = text.rstrip("0123456789A")
    return head + text[len(head) :].lstrip("0")
