"""The side files of MMEarth: tile facts, band statistics and splits, all JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecotone.data.catalog.mmearth_layout import AFTER_SENTINEL2, MISSABLE, POLARISATIONS
from ecotone.errors import DataError
from ecotone.inputs import ZScore

_DECODER = json.JSONDecoder()
_NEXT, _COLON, _END = re.compile(r"\s*[{,]\s*(?=\")"), re.compile(r"\s*:\s*"), re.compile(r"\s*(\{\s*)?\}")
_CHUNK = 1 << 22  # characters read at a time: the file of 1.2 million tiles has about 1.6 GB
_LEVELS = {"l1c": "L1C", "l2a": "L2A"}
Kind = tuple[str, str | None, frozenset[str]]  # level, CRS, and what BANDS says is absent


@dataclass(frozen=True)
class Tile:
    """What ``_tile_info.json`` says about one tile.

    Attributes:
        key: Tile id.
        level: ``L1C`` or ``L2A``.
        crs: CRS of its grid.
        absent: Modalities, and channels of Sentinel-1, that it does not have.
        time: Day of the Sentinel-2 image.
        lat: Degrees north of its middle.
        lon: Degrees east of its middle.
    """

    key: str
    level: str
    crs: str | None
    absent: frozenset[str]
    time: datetime
    lat: float
    lon: float


class TileTable:
    """All tiles of a ``_tile_info.json`` in some 40 bytes each, found by their id.

    Args:
        path: The file; it is read piece by piece.

    Raises:
        DataError: It is no such file, or a tile lacks a fact.
    """

    def __init__(self, path: Path) -> None:
        keys: list[str] = []
        days: list[int] = []
        places: list[tuple[float, float]] = []
        kinds: dict[Kind, int] = {}
        codes: list[int] = []
        for key, facts in _members(path):
            try:
                level = _LEVELS[str(facts["S2_type"]).lower()]
                kind = level, facts.get("CRS"), _absent(facts.get("BANDS"), level)
                places.append((float(facts["lat"]), float(facts["lon"])))
                days.append(date.fromisoformat(facts["S2_DATE"]).toordinal())
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(
                    f"{path} does not describe tile {key!r}",
                    found=f"{type(error).__name__}: {error}",
                    expected="S2_type (l1c or l2a), S2_DATE (YYYY-MM-DD), lat and lon",
                ) from error
            keys.append(key)
            codes.append(kinds.setdefault(kind, len(kinds)))
        if not keys:
            raise DataError(f"{path} describes no tile")
        order = np.argsort(ids := np.array([k.encode() for k in keys]), kind="stable")
        self._path, self._kinds = path, list(kinds)
        self._ids, self._codes = ids[order], np.array(codes, np.uint32)[order]
        self._days, self._places = np.array(days, np.int32)[order], np.array(places)[order]

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def levels(self) -> set[str]:
        """Processing levels that occur."""
        return {level for level, _, _ in self._kinds}

    def tile(self, key: bytes) -> Tile:
        """The tile of this id.

        Raises:
            DataError: There is none.
        """
        at = int(np.searchsorted(self._ids, key))
        if at == len(self._ids) or self._ids[at] != key:
            raise DataError(f"{self._path} does not describe tile {key.decode(errors='replace')!r}")
        level, crs, absent = self._kinds[int(self._codes[at])]
        lat, lon = self._places[at].tolist()
        return Tile(key.decode(), level, crs, absent, datetime.fromordinal(int(self._days[at])), lat, lon)


def _absent(bands: dict[str, list[str] | None] | None, level: str) -> frozenset[str]:
    if bands is None:
        return frozenset()
    gone = {name for name in MISSABLE if not bands.get(name)}
    for orbit in ("asc", "desc"):
        have = bands.get(f"sentinel1_{orbit}") or ()
        gone |= {f"{orbit}_{p}" for p in POLARISATIONS if p not in have}
    # The official converter counts one band too few in L2A tiles without cloud probability: what follows Sentinel-2
    # in such a tile is read one band early, and is no measurement of anything.
    sentinel2 = bands.get("sentinel2")
    if level == "L2A" and sentinel2 and "MSK_CLDPRB" not in sentinel2:
        gone |= set(AFTER_SENTINEL2)
    return frozenset(gone)


def _members(path: Path) -> Iterator[tuple[str, Any]]:
    """The members of a JSON object of objects, one after another, in bounded memory."""
    text, at = "", 0
    try:
        with path.open(encoding="utf-8") as file:
            while True:
                try:
                    found = _member(text, at)
                except ValueError as error:  # cut off by the end of the text so far, or wrong
                    piece = file.read(_CHUNK)
                    if not piece or len(text) - at > 8 * _CHUNK:
                        raise DataError(f"{path} is not valid JSON, or is cut short", found=error) from error
                    text, at = text[at:] + piece, 0
                    continue
                if found is None:
                    return
                key, value, at = found
                yield key, value
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}", found=error) from error


def _member(text: str, at: int) -> tuple[str, Any, int] | None:
    """The next key and value, and where they end; None at the end of the object.

    Raises:
        ValueError: The text ends before them, or is not JSON.
    """
    if _END.match(text, at):
        return None
    start = _NEXT.match(text, at)
    if not start:
        raise ValueError("no member where one should begin")
    key, at = _DECODER.raw_decode(text, start.end())
    colon = _COLON.match(text, at)
    if not colon:
        raise ValueError(f"no value for {key!r}")
    value, at = _DECODER.raw_decode(text, colon.end())
    return key, value, at


def read_splits(path: Path, count: int) -> dict[str, NDArray[np.int64]]:
    """Split -> rows of the HDF5 file, in the order of the file.

    Raises:
        DataError: It is no such file, or names rows that do not exist.
    """
    content = _read_json(path)
    if not isinstance(content, dict) or not all(isinstance(rows, list) for rows in content.values()):
        raise DataError(f"{path} does not list splits", expected='{"train": [rows], "val": [rows], "test": [rows]}')
    splits = {name: np.array(rows, np.int64) for name, rows in content.items()}
    for name, rows in splits.items():
        if rows.size and (rows.min() < 0 or rows.max() >= count):
            raise DataError(
                f"{path} names rows that the HDF5 file does not have, in split {name}",
                found=f"{rows.min()} to {rows.max()}",
                expected=f"0 to {count - 1}",
                mend="The four files must belong together.",
            )
    return splits


class Statistics:
    """Mean and standard deviation by band, from a ``_band_stats.json``.

    Args:
        path: The file. Bands without any observation hold NaN and Infinity there, as Python writes them.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._content = path, _read_json(path)

    def z_score(
        self, name: str, channels: tuple[str, ...], places: list[int], stored: int, *, unseen: bool = False
    ) -> ZScore:
        """The normaliser of some channels.

        Args:
            name: Name of the statistics, such as ``aster`` or ``sentinel2_l2a``.
            channels: Their names.
            places: Their places in the file.
            stored: Channels in the file.
            unseen: Channels that no tile has are right and get mean 0 and std 1, which no value will meet.

        Raises:
            DataError: The file has no usable statistics of a channel.
        """
        try:
            mean, std = self._content[name]["mean"], self._content[name]["std"]
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{self._path} has no statistics of {name}",
                expected=f"{name} with mean and std",
                mend=f"Leave {name.partition('_l')[0]} out of the modalities, or complete the file.",
            ) from error
        if len(mean) != stored or len(std) != stored:
            raise DataError(
                f"{self._path} has statistics of another number of bands for {name}", found=len(mean), expected=stored
            )
        known = [(0.0, 1.0) if unseen and math.isnan(mean[i]) else (mean[i], std[i]) for i in places]
        for channel, (m, s) in zip(channels, known, strict=True):
            if not (math.isfinite(m) and math.isfinite(s) and s > 0):
                raise DataError(
                    f"{self._path} has no usable statistics of {channel} in {name}",
                    found=f"mean {m}, std {s}",
                    expected="finite numbers, and a std above zero",
                    mend="No tile of the dataset has this channel, or it never varies: leave it out.",
                )
        return ZScore(mean=tuple(m for m, _ in known), std=tuple(s for _, s in known))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"cannot read {path}", found=error) from error
