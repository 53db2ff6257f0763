"""Which samples a folder of images holds: by its manifest, by class folders, or just the files."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from ecotone.data.pictures import PICTURE_SUFFIXES
from ecotone.errors import DataError, nearest
from ecotone.rasters.folders import RASTER_SUFFIXES, band_word, is_band

MANIFEST = "manifest.csv"
SUFFIXES = tuple(dict.fromkeys((*PICTURE_SUFFIXES, *RASTER_SUFFIXES)))
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Row:
    """One sample of a folder.

    Attributes:
        path: Within the folder.
        label: As written, or empty.
        split: Or empty.
        place: Longitude and latitude in degrees (WGS 84), where the manifest gives them.
    """

    path: str
    label: str = ""
    split: str = ""
    place: tuple[float, float] | None = None


def list_rows(folder: Path) -> list[Row]:
    """All samples of a folder.

    Raises:
        DataError: There are none, or the manifest cannot be used.
    """
    manifest = folder / MANIFEST
    rows = read_manifest(manifest) if manifest.is_file() else scan(folder)
    if not rows:
        raise DataError(
            f"{manifest if manifest.is_file() else folder} lists no images",
            expected=f"files such as {', '.join(SUFFIXES[:5])}",
        )
    return rows


def choose_split(rows: list[Row], split: str | None, folder: Path) -> list[Row]:
    """The rows of one split, or all.

    Raises:
        DataError: No row belongs to it.
    """
    if split is None:
        return rows
    wanted = SPLITS.get(split.lower(), split)
    chosen = [row for row in rows if row.split == wanted]
    if not chosen:
        known = sorted({row.split for row in rows if row.split})
        raise DataError(
            f"{folder} has no split {split!r}",
            found=", ".join(known) or "no splits",
            mend=nearest(split, known) if known else "Leave the split out, or add a split column to manifest.csv.",
        )
    return chosen


def read_manifest(path: Path) -> list[Row]:
    """Rows of a ``manifest.csv`` with the columns path and, if known, label, split, lon and lat.

    Raises:
        DataError: It is not a table with a column path, a path leaves the folder, or a place is none on the Earth.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            if "path" not in (table.fieldnames or ()):
                raise DataError(
                    f"{path} has no column path", found=", ".join(table.fieldnames or ()) or "an empty file"
                )
            lines = list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}", found=error) from error
    return [_row(line, path) for line in lines]


def _row(line: Mapping[str, str | None], manifest: Path) -> Row:
    name, label, split = (line.get(column) or "" for column in ("path", "label", "split"))
    return Row(inside(name, manifest), label, SPLITS.get(split.lower(), split), _place(line, name, manifest))


def _place(line: Mapping[str, str | None], name: str, manifest: Path) -> tuple[float, float] | None:
    written = line.get("lon") or "", line.get("lat") or ""
    if not any(written):
        return None
    try:
        lon, lat = map(float, written)
    except ValueError:
        lon = lat = math.nan
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise DataError(
            f"{manifest} gives {name} a place that is none on the Earth",
            found=f"lon {written[0]!r}, lat {written[1]!r}",
            expected="degrees: lon from -180 to 180, lat from -90 to 90",
        )
    return lon, lat


def inside(relative: str, where: Path) -> str:
    """The path, if it stays within its folder.

    Raises:
        DataError: It is empty, absolute, or climbs out of the folder.
    """
    parts = PurePosixPath(relative.replace("\\", "/"))
    if not relative or parts.is_absolute() or ".." in parts.parts or PureWindowsPath(relative).drive:
        raise DataError(f"{where} names a path outside its folder", found=repr(relative), expected="a path below it")
    return relative


def scan(folder: Path) -> list[Row]:
    """Rows of a folder without a manifest: split folders, class folders within, and folders of per-band files."""
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
    if files and all(f.parent == folder for f in files) and _is_stack(files):
        return [Row(".")]
    by_parent: dict[Path, list[Path]] = {}
    for file in files:
        by_parent.setdefault(file.parent, []).append(file)
    found: list[Path] = []
    for parent, members in by_parent.items():
        found += [parent] if _is_stack(members) else members
    rows = [Row(f.relative_to(folder).as_posix()) for f in found]
    heads = {PurePosixPath(row.path).parts[0].lower() for row in rows}
    if rows and heads <= SPLITS.keys():
        rows = [replace(row, split=SPLITS[PurePosixPath(row.path).parts[0].lower()]) for row in rows]
    return _label_by_folder(rows)


def _label_by_folder(rows: list[Row]) -> list[Row]:
    inner = [PurePosixPath(row.path).parts[1 if row.split else 0 :] for row in rows]
    # One folder is a place to keep images, not a class.
    if all(len(parts) > 1 for parts in inner) and len({parts[0] for parts in inner}) > 1:
        return [replace(row, label=parts[0]) for row, parts in zip(rows, inner, strict=True)]
    return rows


def _is_stack(files: list[Path]) -> bool:
    words = [band_word(f) for f in files]
    return len(files) > 1 and len(set(words)) == len(words) and all(is_band(w) for w in words)
