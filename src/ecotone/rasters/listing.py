"""Listing: what the user names (files, folders, globs, lists, URLs) becomes an ordered list of scenes."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ecotone.errors import DataError
from ecotone.rasters.folders import RASTER_SUFFIXES, band_stacks, is_safe
from ecotone.rasters.remote import gdal_path, is_remote, shown
from ecotone.rasters.sources import Source, source_id
from ecotone.rasters.stac import PREFIX, search_items

_SIDECARS = (".hdr", ".xml", ".ovr", ".msk", ".yaml", ".csv", ".json", ".txt")
_HEADED = ("", ".dat", ".bil", ".bip", ".bsq", ".raw", ".envi")  # ENVI data whose header replaces the suffix


def list_sources(given: str | Path | Sequence[str | Path]) -> list[Source]:
    """The scenes that one or more inputs name, each once, in the order of the inputs and by name within each.

    An input is one of:

    - a file that GDAL reads, or a zip of a Sentinel-2 product;
    - a folder: one scene where it is a ``.SAFE`` product or holds the per-band files of one scene; else a scene for
      each raster, each product and each set of per-band files in it and in its subfolders;
    - a pattern with ``*``, ``?``, ``[…]`` or ``**``;
    - ``@list.txt``: a text file with one input per line, relative to its folder; blank lines and those that start
      with ``#`` are skipped;
    - a URL, or a path of GDAL's virtual file systems such as ``/vsizip/…``;
    - ``stac:URL?collections=…&bbox=…``: the items that a STAC API finds, as ``search_items`` says.

    Files in folders and lists are not opened here, so that one that cannot be read stops nothing: its ``open`` says
    why. Beside per-band files, rasters whose names begin alike (masks, previews) belong to that scene.

    Raises:
        DataError: An input does not exist, or holds no rasters.
    """
    inputs = [given] if isinstance(given, (str, Path)) else given
    found: dict[str, Source] = {}
    for one in inputs:
        for source in _sources(str(one), Path()):
            found.setdefault(source.id, source)
    if not found:
        raise DataError("no rasters to read", expected="at least one file, folder, pattern, list or URL")
    return list(found.values())


def _sources(text: str, base: Path) -> Iterable[Source]:
    if text.startswith("@"):
        return _listed(base / text[1:])
    if text.startswith(PREFIX):
        return search_items(text)
    if is_remote(text):
        return [_source(text)]
    path = base / text
    if path.exists():
        return _at(path)
    if not glob.has_magic(text):
        raise DataError(f"there is no file {path}")
    matches = _matches(Path(text).parts, base)
    found = [s for m in matches if m.suffix.lower() not in _SIDECARS for s in _at(m)]
    if not found:
        raise DataError(f"no raster matches {text}")
    return found


def _matches(parts: Sequence[str], base: Path) -> list[Path]:
    fixed = list(itertools.takewhile(lambda part: not glob.has_magic(part), parts))
    root = base.joinpath(*fixed)
    found = root.glob("/".join(parts[len(fixed) :]))
    return sorted(m for m in found if not any(p.startswith(".") for p in m.relative_to(root).parts))


def _listed(path: Path) -> Iterator[Source]:
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the list {path}", found=str(error), expected="a text file of paths") from error
    for line in lines:
        if line.startswith("@"):
            raise DataError(f"the list {path} names another list", found=line, expected="files, folders or URLs")
        if line and not line.startswith("#"):
            there = line.startswith(PREFIX) or is_remote(line) or glob.has_magic(line) or (path.parent / line).exists()
            yield from _sources(line, path.parent) if there else [_source(str(path.parent / line))]


def _at(path: Path) -> list[Source]:
    if not path.is_dir():
        return [_source(str(path))]
    found = list(_in_folder(path, set()))
    if not found:
        raise DataError(f"the folder {path} holds no rasters", expected=", ".join((*RASTER_SUFFIXES, ".zip", ".SAFE")))
    return found


def _in_folder(folder: Path, seen: set[Path]) -> Iterator[Source]:
    """The scenes of a folder and its subfolders; ``seen`` ends circles of links."""
    if is_safe(folder):
        yield _source(str(folder))
        return
    real = folder.resolve()
    if real in seen:
        return
    seen.add(real)
    entries = sorted(e for e in folder.iterdir() if not e.name.startswith("."))
    yield from _files_of(folder, [e for e in entries if e.is_file()])
    for entry in entries:
        if entry.is_dir():
            yield from _in_folder(entry, seen)


def _files_of(folder: Path, files: Sequence[Path]) -> Iterator[Source]:
    names = {f.name.lower() for f in files}
    rasters = [f for f in files if _is_raster(f, names)]
    stacks = band_stacks(rasters)
    rest = [f for f in rasters if not any(f.name.startswith(prefix) for prefix in stacks)]
    whole = len(stacks) == 1 and not rest
    for prefix, stack in stacks.items():
        path = str(folder) if whole else tuple(str(f) for f in stack)
        yield _source(path, str(folder / prefix) if prefix else str(folder))
    for file in rest:
        yield _source(str(file))


def _is_raster(file: Path, names: set[str]) -> bool:
    """Whether a file of a folder with these names (lower case) may be a raster: by its suffix or its ENVI header."""
    suffix, name = file.suffix.lower(), file.name.lower()
    if suffix in (*RASTER_SUFFIXES, ".zip"):
        return True
    return f"{name}.hdr" in names or (suffix in _HEADED and f"{file.stem.lower()}.hdr" in names)


def _source(path: str | tuple[str, ...], where: str | None = None) -> Source:
    """A scene called after ``where`` it lies: by default its path."""
    where = where or str(path)
    if is_remote(where):
        full = shown(gdal_path(where))
        name = full.partition("?")[0].rstrip("/").rpartition("/")[2]
    else:
        full, name = str(Path(where).resolve()), Path(where).resolve().name
    return Source(source_id(name, full), path)
