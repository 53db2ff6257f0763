"""Units of pixel values. They are declared, never guessed; only values of one quantity convert into each other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ecotone.errors import SensorError, nearest


@dataclass(frozen=True)
class Unit:
    """A unit of pixel values: ``base value = value * scale + offset``, in the base unit of its quantity.

    Attributes:
        name: The word used in files and messages.
        quantity: What is measured; the base units are reflectance as a fraction, display brightness 0-255,
            backscatter as linear power, metres, metres and degrees of a terrain, kelvin, class index, and plain
            digital number.
        scale: Factor to the base unit.
        offset: Added after the factor.
        decibel: The value is ``10 * log10`` of the base value; scale and offset then do not apply.
    """

    name: str
    quantity: str
    scale: float = 1.0
    offset: float = 0.0
    decibel: bool = False

    def __str__(self) -> str:
        return self.name

    def to(self, other: Unit, values: Tensor) -> Tensor:
        """Convert values (any shape) into another unit of the same quantity, as float32 or wider.

        Raises:
            SensorError: The two units measure different quantities.
        """
        if self.quantity != other.quantity:
            raise SensorError(
                "pixel values cannot be converted",
                found=f"{self.name} ({self.quantity})",
                expected=f"{other.name} ({other.quantity})",
                mend="Declare the right unit for the data, or name a display conversion such as --convert rgb8.",
            )
        values = values if values.is_floating_point() else values.float()
        if self == other:
            return values
        base = torch.pow(10.0, values / 10) if self.decibel else values * self.scale + self.offset
        if other.decibel:
            return 10 * torch.log10(base.clamp_min(1e-10))  # -100 dB: far below any sensor's noise floor
        return (base - other.offset) / other.scale


UNITS = {
    u.name: u
    for u in (
        Unit("reflectance", "reflectance"),
        Unit("reflectance x 10000", "reflectance", scale=1e-4),
        # Sentinel-2 products of processing baseline 04.00 and later: DN = 10000 * reflectance + 1000.
        Unit("reflectance x 10000 + 1000", "reflectance", scale=1e-4, offset=-0.1),
        # Landsat Collection 2 Level-2 surface reflectance (USGS LSDS-1619).
        Unit("landsat c2 reflectance", "reflectance", scale=2.75e-5, offset=-0.2),
        Unit("uint8", "display"),
        Unit("linear power", "backscatter"),
        Unit("dB", "backscatter", decibel=True),
        Unit("metre", "elevation"),
        # An elevation band and its slope band in one image; converts into nothing else.
        Unit("metre, degree", "terrain"),
        Unit("kelvin", "temperature"),
        Unit("class", "class"),
        Unit("dn", "digital number"),
    )
}


def unit(name: str | Unit) -> Unit:
    """The unit of this name.

    Raises:
        SensorError: No such unit; the nearest name is suggested.
    """
    if isinstance(name, Unit):
        return name
    if name not in UNITS:
        raise SensorError(f"unknown unit {name!r}", mend=nearest(name, UNITS))
    return UNITS[name]
