"""Folders: which files belong to one scene, by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ecotone.errors import DataError
from ecotone.rasters.files import open_file, readable
from ecotone.rasters.remote import gdal_path, is_network, is_remote
from ecotone.sensors import Sensor, sensor, sensor_names

RASTER_SUFFIXES = (".tif", ".tiff", ".gtif", ".jp2", ".vrt", ".img", ".png", ".jpg", ".jpeg", ".bmp")
_PITCH = re.compile(r"\d+m")  # the last word of Sentinel-2 file names, as in T32TQM_20200101_B02_10m.jp2


def list_files(source: str | Path | Sequence[str | Path], wanted: Sensor | None) -> tuple[str, ...]:
    """The files of a source: itself, the per-band files of a folder, or those listed.

    Raises:
        DataError: Nothing is there, or a folder holds no per-band files, two for one band, or several sensors' files.
    """
    if not isinstance(source, (str, Path)):
        files = tuple(gdal_path(str(f)) for f in source)
        if not files:
            raise DataError("no files to read", expected="at least one")
        return files
    if is_remote(str(source)):
        return (_addressed(str(source)),)
    if Path(source).is_dir():
        return _band_files(Path(source), wanted)
    if not Path(source).exists():
        raise DataError(f"there is no file {source}")
    return (str(source),)


def _addressed(source: str) -> str:
    path = gdal_path(source)
    if "://" in path and not is_network(path):
        raise DataError(f"cannot read {source}", expected="http(s)://, s3://, gs://, az:// or a path")
    return path


def _band_files(folder: Path, wanted: Sensor | None) -> tuple[str, ...]:
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in RASTER_SUFFIXES)
    sensors = [wanted] if wanted else [sensor(name) for name in sensor_names()]
    best: dict[str, list[Path]] = {}
    for candidate in sensors:
        for file in files:
            band = candidate.find(band_word(file))
            best.setdefault(candidate.name, []).extend([file] if band else [])
    known = {f for found in best.values() for f in found}
    complete = [name for name, found in best.items() if found and set(found) == known]
    if not known:
        raise DataError(
            f"the folder {folder} holds no per-band files" + (f" of {wanted.name}" if wanted else ""),
            found=", ".join(f.name for f in files[:6]) or "no images",
            expected="file names that end in a band name, such as B02.tif or VV.tif",
            mend="Name one file instead of the folder.",
        )
    if not complete:
        raise DataError(
            f"the folder {folder} holds bands of more than one sensor",
            found=", ".join(band_word(f) for f in sorted(known)),
            mend="Choose one with --sensor.",
        )
    chosen = sorted(known)
    first = sensor(complete[0])
    twice = {b.name for b in first.bands if sum(first.find(band_word(f)) == b for f in chosen) > 1}
    if twice:
        raise DataError(f"the folder {folder} holds more than one file for {', '.join(sorted(twice))}")
    return tuple(str(f) for f in chosen)


def is_safe(folder: Path) -> bool:
    """Whether a folder is a Sentinel-2 product: it ends in ``.SAFE`` or holds a product's metadata."""
    return folder.suffix.upper() == ".SAFE" or any(folder.glob("MTD_MSIL*.xml"))


def band_stacks(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Which files of one folder are the per-band files of scenes: beginning of their names -> files.

    They are two or more single-band files whose names begin alike and end in names of bands of one sensor.
    """
    alike: dict[str, list[Path]] = {}
    for file in files:
        if is_band(band_word(file)):
            alike.setdefault(before_band(file), []).append(file)
    known = [sensor(name) for name in sensor_names()]
    stacks = {}
    for prefix, group in alike.items():
        first = max(known, key=lambda s: sum(s.find(band_word(f)) is not None for f in group))
        stack = [f for f in group if first.find(band_word(f))]
        if len(stack) > 1 and not _has_several_bands(stack[0]):
            stacks[prefix] = stack
    return stacks


def before_band(file: Path) -> str:
    """The stem of a file up to its band, to which ``SR`` and the like belong; the whole stem if it ends in no band."""
    word = band_word(file)
    if not is_band(word):
        return file.stem
    return re.sub(r"(?:(?:^|[_\-. ])(?:SR|ST|TOA|BOA))?[_\-. ]*$", "", file.stem[: file.stem.rindex(word)])


def _has_several_bands(file: Path) -> bool:
    try:
        with readable(str(file)), open_file(file) as opened:
            return opened.count > 1
    except DataError:
        return False  # opening the scene will say so


def band_word(path: str | Path) -> str:
    """The last word of a file name, where per-band files carry the band: ``B02`` of ``S2A_…_B02.tif``."""
    words = [w for w in re.split(r"[_\-. ]", Path(path).stem) if not _PITCH.fullmatch(w)]
    return words[-1] if words else ""


def is_band(word: str) -> bool:
    """Whether a word is the name of a band of any sensor."""
    return any(sensor(name).find(word) for name in sensor_names())
