"""What a file says of its channels itself: by descriptions, wavelengths, colours and the words of its name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ecotone.sensors import Sensor, sensor, sensor_names

_NUMBERED = re.compile(r"band\s*(\d{1,2}a?)\s+(?:toa |surface )?(?:reflectance|radiance)", re.IGNORECASE)


@dataclass(frozen=True)
class Header:
    """What a file, or a stack of files, says about its channels.

    Attributes:
        source: The path, for messages.
        descriptions: One per channel; empty where there is none.
        colours: GDAL's colour interpretation, one per channel.
        wavelengths: Centre wavelength in nm or None, one per channel.
        words: Words of file names and headers that may mean a sensor.
        dtype: numpy's name of the stored type.
        nodata: Stored number that means no observation.
        gsd: Metres per pixel by the georeference.
    """

    source: str
    descriptions: tuple[str, ...]
    colours: tuple[str, ...]
    wavelengths: tuple[float | None, ...]
    words: tuple[str, ...]
    dtype: str
    nodata: float | None = None
    gsd: float | None = None

    @property
    def count(self) -> int:
        return len(self.descriptions)


def recognise(header: Header) -> tuple[tuple[str, ...], Sensor | None]:
    """Band names and sensor from the file alone; unknown channels are called ``band1``, ``band2`` … by their place."""
    blank = tuple(f"band{i + 1}" for i in range(header.count))
    by_word = next((s for s in map(sensor, sensor_names()) if _means(header, s)), None)
    for pairs in (_by_description(header, by_word), _by_wavelength(header, by_word), _by_colour(header)):
        if pairs:
            names, found = pairs
            return tuple(name or spare for name, spare in zip(names, blank, strict=True)), found
    return blank, None


Named = tuple[list[str | None], Sensor | None]


def _by_description(header: Header, by_word: Sensor | None) -> Named | None:
    given = [d for d in header.descriptions if d]
    if len(set(given)) < len(given) or not given:
        return None
    if by_word:
        names = [name_in(by_word, d) for d in header.descriptions]
        if any(names):
            return names, by_word
    known = [s for s in map(sensor, sensor_names()) if all(name_in(s, d) for d in given)]
    fitting = [s for s in known if _plausible(header, s)]
    exact = [s for s in fitting if len(given) == len(s.bands)] or fitting
    if len(exact) == 1:
        return [name_in(exact[0], d) for d in header.descriptions], exact[0]
    if known:
        return [d or None for d in header.descriptions], None  # named, but by more than one sensor
    return None


def _by_wavelength(header: Header, by_word: Sensor | None) -> Named | None:
    """The bands nearest to the wavelengths: of the sensor the header names, else of the only one within 5 nm."""
    if any(w is None for w in header.wavelengths):
        return None
    for tolerance, sensors in ((0.0, [by_word] if by_word else []), (5.0, map(sensor, sensor_names()))):
        found = [(names, s) for s in sensors if (names := _nearest_bands(header, s, tolerance))]
        if len(found) == 1:
            return found[0]
    return None


def _nearest_bands(header: Header, candidate: Sensor, tolerance: float) -> list[str | None] | None:
    optical = [b for b in candidate.bands if b.wavelength]
    if not optical:
        return None
    names: list[str | None] = []
    for wavelength in header.wavelengths:
        band = min(optical, key=lambda b: abs((b.wavelength or 0) - (wavelength or 0)))
        if abs((band.wavelength or 0) - (wavelength or 0)) > (tolerance or (band.bandwidth or 0) / 2):
            return None
        names.append(band.name)
    return names if len(set(names)) == len(names) else None


def _by_colour(header: Header) -> Named | None:
    letters = {"red": "R", "green": "G", "blue": "B"}
    names = [letters.get(colour) for colour in header.colours]
    if sorted(n for n in names if n) != ["B", "G", "R"]:
        return None
    return names, sensor("rgb") if header.dtype == "uint8" else None


def stored_as(header: Header, found: Sensor) -> bool:
    """Whether a recognised sensor's products store such numbers; if not, the sensor's unit does not hold either."""
    own = found.physical_unit
    fits = {
        "display": header.dtype == "uint8",
        "reflectance": "int" in header.dtype and header.dtype != "uint8",
        "backscatter": "float" in header.dtype,
    }
    return fits.get(own.quantity, header.dtype != "uint8") and _same_nodata(header, found)


def _plausible(header: Header, candidate: Sensor) -> bool:
    finest = min((b.gsd for b in candidate.bands if b.gsd), default=0.0)
    coarse_enough = header.gsd is None or finest <= 1.5 * header.gsd
    display = candidate.physical_unit.quantity == "display"
    return coarse_enough and _same_nodata(header, candidate) and (header.dtype == "uint8" if display else True)


def _same_nodata(header: Header, candidate: Sensor) -> bool:
    values = (header.nodata, candidate.nodata)
    return None in values or values[0] != values[0] or values[0] == values[1]


def _means(header: Header, candidate: Sensor) -> bool:
    """Whether a word of the file's name starts with an alias of the sensor, or a header holds just that."""
    known = [alias.upper() for alias in candidate.aliases]
    for word in map(str.upper, header.words):
        if word in known or any(re.search(rf"(?:^|[^A-Z0-9]){re.escape(a)}", word) for a in known if " " not in a):
            return True
    return False


def name_in(candidate: Sensor, description: str) -> str | None:
    """The sensor's name of the band that a description means, or None."""
    numbered = _NUMBERED.match(description)
    band = candidate.find(f"B{numbered[1]}" if numbered else description)
    return band.name if band else None
