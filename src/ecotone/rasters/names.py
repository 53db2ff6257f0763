"""What the channels of a file are: from a declaration, or from what the file itself says. Never from their position."""

from __future__ import annotations

from dataclasses import dataclass

from ecotone.errors import DataError
from ecotone.rasters.declared import Declaration
from ecotone.rasters.recognise import Header, name_in, recognise, stored_as
from ecotone.sensors import Sensor, Unit, sensor, unit


@dataclass(frozen=True)
class Channels:
    """The channels chosen from a file: their places (from 0) and names, with sensor, unit and processing level."""

    indices: tuple[int, ...]
    bands: tuple[str, ...]
    sensor: str | None
    unit: Unit
    level: str | None


def name_channels(
    header: Header,
    declared: Declaration,
    *,
    sensor_name: str | None = None,
    bands: tuple[str, ...] = (),
    unit_name: str | None = None,
    level: str | None = None,
    sensor_order: bool = False,
) -> Channels:
    """Name the channels of a file and choose some of them.

    The names come from the sensor that is given or declared, else from declared bands, else from the file itself.
    ``bands`` then chooses among the names; where the file's channels have none of these names and are as many, it
    names them. ``sensor_order`` puts the channels in the order of the sensor, for folders, whose files have none.

    Raises:
        DataError: The number of bands differs from the file's, or a chosen band is missing.
    """
    wanted = sensor_name or declared.sensor
    names, found = _declared_names(header, declared, wanted, sensor_name, bands) if wanted else (None, None)
    if names is None and declared.bands:
        names = _same_count(header, declared.bands, "dataset.yaml")
    if names is None:
        names, found = recognise(header)
    names = tuple(names)
    indices = _choose(header, names, found, bands)
    if sensor_order and found and not bands:
        order = found.band_names
        indices = tuple(sorted(indices, key=lambda i: order.index(names[i]) if names[i] in order else len(order)))
    chosen = bands if bands else tuple(names[i] for i in indices)
    return Channels(
        indices=indices,
        bands=chosen,
        sensor=(wanted if wanted else found.name) if found else None,
        unit=_unit(header, declared, chosen, found, bool(wanted), unit_name),
        level=level or declared.level or (found.level if found and (wanted or stored_as(header, found)) else None),
    )


def _declared_names(
    header: Header, declared: Declaration, wanted: str, given: str | None, bands: tuple[str, ...]
) -> tuple[tuple[str, ...], Sensor]:
    found = sensor(wanted)
    described = [name_in(found, d) for d in header.descriptions]
    if all(described) and len(set(described)) == header.count:
        return tuple(d or "" for d in described), found
    if declared.bands and given in (None, declared.sensor):
        return _same_count(header, declared.bands, "dataset.yaml"), found
    if header.count == len(bands) and all(name_in(found, b) for b in bands):
        return bands, found
    return _same_count(header, found.band_names, f"sensor {found.name}"), found


def _same_count(header: Header, names: tuple[str, ...], who: str) -> tuple[str, ...]:
    if len(names) == header.count:
        return names
    own = ", ".join(recognise(header)[0])
    raise DataError(
        f"{header.source} has another number of bands than {who} declares",
        found=f"{header.count} band{'s' * (header.count != 1)} ({own})",
        expected=f"{len(names)} ({', '.join(names)})",
        mend="Name the right sensor with --sensor, or the file's bands with --bands.",
    )


def _choose(header: Header, names: tuple[str, ...], found: Sensor | None, bands: tuple[str, ...]) -> tuple[int, ...]:
    if not bands:
        return tuple(range(header.count))
    same = [next((i for i, name in enumerate(names) if _same_band(found, name, band)), None) for band in bands]
    chosen = tuple(i for i in same if i is not None)
    if len(chosen) == len(bands):
        return chosen
    if not chosen and len(bands) == header.count:
        return tuple(range(header.count))
    missing = [band for band, i in zip(bands, same, strict=True) if i is None]
    raise DataError(f"{header.source} lacks the bands {', '.join(missing)}", found=", ".join(names))


def _unit(
    header: Header, declared: Declaration, bands: tuple[str, ...], found: Sensor | None, sure: bool, name: str | None
) -> Unit:
    """The unit that is given, declared or the sensor's; plain digital numbers where nothing vouches for one."""
    known = unit(name) if name else declared.unit_of(bands)
    if known or found is None:
        return known or unit("dn")
    own = found.physical_unit
    if sure and header.dtype == "uint8" and own.scale != 1:
        raise DataError(
            f"the numbers of {header.source} cannot be {own}, the unit of {found.name}",
            found="8-bit numbers",
            expected="16-bit integers or floating point",
            mend="Declare the unit with --unit or in dataset.yaml.",
        )
    return own if sure or stored_as(header, found) else unit("dn")


def _same_band(found: Sensor | None, name: str, wanted: str) -> bool:
    if name.upper() == wanted.upper():
        return True
    return found is not None and (own := found.find(wanted)) is not None and own == found.find(name)
