"""Sentinel-2 products as ESA delivers them: a .SAFE folder or a zip of one, read where it lies.

The layout is that of the Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD). Reflectance is
``(DN + offset) / quantification value``; the offset is -1000 since processing baseline 04.00 and absent before.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

from ecotone.errors import DataError
from ecotone.rasters.folders import RASTER_SUFFIXES, band_word, is_safe
from ecotone.sensors import Sensor, sensor

_METADATA = re.compile(r"MTD_MSIL(1C|2A)\.xml")
_LARGEST_XML = 32 * 2**20  # real metadata has some 60 kB; a zip may claim anything
_UNITS = {(10000.0, 0.0): "reflectance x 10000", (10000.0, -1000.0): "reflectance x 10000 + 1000"}


@dataclass(frozen=True)
class Product:
    """One Sentinel-2 product.

    Attributes:
        name: Its name, without ``.SAFE``.
        paths: The files of its bands, for GDAL, each band at its native pitch.
        sensor: ``sentinel2-l1c`` or ``sentinel2-l2a``.
        level: ``L1C`` or ``L2A``.
        unit: Unit of the stored numbers by the quantification value and offset of its metadata.
        nodata: Stored number that means no observation.
        time: Start of the acquisition.
        facts: What the metadata says that bears on the pixels, by its own names.
        layers: All rasters of its granule, quality layers among them, for GDAL.
    """

    name: str
    paths: tuple[str, ...]
    sensor: str
    level: str
    unit: str
    nodata: float | None
    time: datetime | None
    facts: Mapping[str, str]
    layers: tuple[str, ...]


def find_product(source: str | Path) -> Product | None:
    """The product that a source is: a ``.SAFE`` folder, its metadata file, or a zip; None for anything else.

    Nothing is unpacked: GDAL reads the members of a zip in place.

    Raises:
        DataError: The folder or zip holds no whole product, or more than one.
    """
    path = Path(source)
    if path.suffix.lower() == ".zip" and path.is_file():
        return _in_zip(path)
    folder = path.parent if _METADATA.fullmatch(path.name) else path
    if not (folder.is_dir() and is_safe(folder)):
        return None
    names = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())
    return read_product(str(folder), names, lambda n: (folder / n).read_bytes(), str(folder.resolve()))


def product_around(path: str) -> Product | None:
    """The ``.SAFE`` folder, or the zip of one, that a file lies in, if it lies in one."""
    inside = re.match(r"/vsizip/(/.+?\.zip)/", path, re.IGNORECASE)
    if inside:
        return find_product(inside[1])
    found = next((p for p in Path(path).resolve().parents if p.suffix.upper() == ".SAFE"), None)
    return find_product(found) if found else None


def _in_zip(path: Path) -> Product:
    try:
        with zipfile.ZipFile(path) as file:
            return read_product(str(path), file.namelist(), lambda n: _member(file, n), f"/vsizip/{path.resolve()}")
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, EOFError) as error:
        raise DataError(f"cannot read {path}", found=str(error), mend="Check that the file is complete.") from error


def _member(file: zipfile.ZipFile, name: str) -> bytes:
    with file.open(name) as member:
        return member.read(_LARGEST_XML + 1)


def read_product(source: str, names: Sequence[str], content: Callable[[str], bytes], place: str) -> Product:
    """The product of some files.

    Args:
        source: What messages call it.
        names: Paths of its files, all from the same place.
        content: The content of one of them.
        place: Where they lie, for GDAL.

    Raises:
        DataError: They are no whole product, or more than one.
    """
    found = [n for n in names if _METADATA.fullmatch(n.rpartition("/")[2])]
    if len(found) != 1:
        raise DataError(
            f"{source} is not one Sentinel-2 product",
            found=f"{len(found)} metadata files" if found else "no metadata file",
            expected="one MTD_MSIL1C.xml or MTD_MSIL2A.xml",
            mend="Name the .SAFE folder, or the zip of one.",
        )
    root = found[0].rpartition("/")[0]
    values = metadata_values(source, content(found[0]))
    level = f"L{found[0][-6:-4]}"
    known = sensor(f"sentinel2-{level.lower()}")
    layers = _layers(source, root, names)
    name = next(iter(values.get("PRODUCT_URI", [])), root or Path(source).name)
    return Product(
        name=name.rpartition("/")[2].removesuffix(".SAFE"),
        paths=tuple(f"{place}/{n}" for n in _band_files(source, layers, known)),
        sensor=known.name,
        level=level,
        unit=_unit(source, values, level),
        nodata=_nodata(values),
        time=_time(values),
        facts=_facts(values, level),
        layers=tuple(f"{place}/{n}" for n in layers),
    )


def metadata_values(source: str, text: bytes) -> dict[str, list[str]]:
    """Texts of the metadata by tag, without namespace; tags of early products begin with ``L2A_``."""
    # Entities could blow a small file up without end; ESA's metadata declares none.
    if len(text) > _LARGEST_XML or b"<!DOCTYPE" in text:
        raise DataError(f"the metadata of {source} is no Sentinel-2 metadata", found="an overlong or unsafe XML file")
    try:
        tree = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise DataError(f"cannot read the metadata of {source}", found=str(error)) from error
    values: dict[str, list[str]] = {}
    for element in tree.iter():
        tag = element.tag.rpartition("}")[2].removeprefix("L2A_")
        values.setdefault(tag, []).append((element.text or "").strip())
    return values


def _layers(source: str, root: str, names: Sequence[str]) -> list[str]:
    start = f"{root}/GRANULE/" if root else "GRANULE/"
    inside = [n for n in sorted(names) if n.startswith(start) and Path(n).suffix.lower() in RASTER_SUFFIXES]
    granules = {n.removeprefix(start).partition("/")[0] for n in inside}
    if len(granules) != 1:
        raise DataError(f"{source} holds {len(granules)} granules with images", expected="one, as products since 2016")
    return inside


def _band_files(source: str, layers: Sequence[str], known: Sensor) -> list[str]:
    """For each band the file nearest to its native pitch: L2A products hold most bands at several."""
    files: dict[str, list[str]] = {}
    for name in layers:
        band = known.find(band_word(name)) if "/IMG_DATA/" in name else None
        if band:
            files.setdefault(band.name, []).append(name)
    if not files:
        raise DataError(f"{source} holds no images of bands", expected="GRANULE/*/IMG_DATA/**/*_B02*.jp2")
    native = {b.name: b.gsd or 0.0 for b in known.bands}
    return [min(files[b], key=lambda n: abs(_pitch(n) - native[b])) for b in known.band_names if b in files]


def _pitch(name: str) -> float:
    found = re.search(r"_(\d+)m\.", name)
    return float(found[1]) if found else 0.0


def _unit(source: str, values: Mapping[str, list[str]], level: str) -> str:
    scale_tag, offset_tag = _TAGS[level]
    try:
        scales = {float(v) for v in values.get(scale_tag, [])}
        offsets = {float(v) for v in values.get(offset_tag, ["0"])}
    except ValueError as error:
        raise DataError(f"the metadata of {source} has a {scale_tag} or {offset_tag} that is no number") from error
    pairs = [(s, o) for s in scales for o in offsets]
    if len(pairs) != 1 or pairs[0] not in _UNITS:
        raise DataError(
            f"the metadata of {source} scales reflectance in an unknown way",
            found=f"{scale_tag} {sorted(scales)}, {offset_tag} {sorted(offsets)}",
            expected="10000, with one offset of 0 or -1000 for all bands",
        )
    return _UNITS[pairs[0]]


_TAGS = {"L1C": ("QUANTIFICATION_VALUE", "RADIO_ADD_OFFSET"), "L2A": ("BOA_QUANTIFICATION_VALUE", "BOA_ADD_OFFSET")}


def _nodata(values: Mapping[str, list[str]]) -> float | None:
    pairs = zip(values.get("SPECIAL_VALUE_TEXT", []), values.get("SPECIAL_VALUE_INDEX", []), strict=False)
    return next((float(index) for text, index in pairs if text == "NODATA" and index.isdigit()), 0.0)


def _time(values: Mapping[str, list[str]]) -> datetime | None:
    try:
        return datetime.fromisoformat(values["PRODUCT_START_TIME"][0])
    except (KeyError, ValueError):
        return None


def _facts(values: Mapping[str, list[str]], level: str) -> dict[str, str]:
    tags = ("PRODUCT_URI", "SPACECRAFT_NAME", "PROCESSING_BASELINE", *_TAGS[level])
    return {tag: values[tag][0] for tag in tags if values.get(tag)}
