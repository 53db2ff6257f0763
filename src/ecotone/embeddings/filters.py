"""Which rows of a store a search may find: by area, time, valid share, sensor and source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase

import numpy as np
import shapely

from ecotone.embeddings.parts import Part
from ecotone.embeddings.places import rows_touching
from ecotone.embeddings.store import Store
from ecotone.errors import DataError


@dataclass(frozen=True)
class Filter:
    """Conditions that a row must meet, all of them.

    Attributes:
        bbox: West, south, east, north in degrees, which its footprint touches; west of more than east crosses the
            antimeridian.
        within: A shape in degrees that its footprint touches.
        after: Acquired at that time or later; without a zone, UTC. Rows without a time do not pass.
        before: Acquired earlier than that.
        min_valid: Smallest share of valid pixels.
        sensors: Names of sensors, any of them.
        sources: Names, ids, paths or URLs of sources, any of them, with ``*`` and ``?`` for any characters.
    """

    bbox: tuple[float, float, float, float] | None = None
    within: shapely.Geometry | None = None
    after: datetime | None = None
    before: datetime | None = None
    min_valid: float | None = None
    sensors: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def mask(self, store: Store) -> np.ndarray:
        """(n,) bool, true where a row passes.

        Raises:
            DataError: None passes.
        """
        tests: dict[str, tuple[object, Callable[[Store], np.ndarray]]] = {
            "bbox": (self.bbox, self._bbox),
            "within": (self.within, self._within),
            "time": (self.after or self.before, self._time),
            "min_valid": (self.min_valid, self._valid),
            "sensor": (self.sensors, self._sensor),
            "source": (self.sources, self._source),
        }
        masks = {name: test(store) for name, (given, test) in tests.items() if given not in (None, ())}
        mask = np.ones(len(store), bool)
        for each in masks.values():
            mask &= each
        if not mask.any():
            counts = ", ".join(f"{name} {int(m.sum())}" for name, m in masks.items())
            raise DataError(f"none of the {len(store)} rows passes the filter", found=f"rows that pass {counts}")
        return mask

    def _bbox(self, store: Store) -> np.ndarray:
        assert self.bbox is not None
        west, south, east, north = self.bbox
        box = store.boxes
        lon = (box[:, 2] >= west, box[:, 0] <= east)
        return (lon[0] & lon[1] if west <= east else lon[0] | lon[1]) & (box[:, 3] >= south) & (box[:, 1] <= north)

    def _within(self, store: Store) -> np.ndarray:
        assert self.within is not None
        mask = np.zeros(len(store), bool)
        mask[rows_touching(store, self.within)] = True
        return mask

    def _time(self, store: Store) -> np.ndarray:
        times = store.columns(["time"])["time"].to_numpy().astype("datetime64[us]")
        mask = ~np.isnat(times)
        if self.after:
            mask &= times >= _utc(self.after)
        if self.before:
            mask &= times < _utc(self.before)
        return mask

    def _valid(self, store: Store) -> np.ndarray:
        return store.columns(["valid_fraction"])["valid_fraction"].to_numpy() >= np.float32(self.min_valid)

    def _sensor(self, store: Store) -> np.ndarray:
        return _of_parts(store, lambda part: part.raster.sensor in self.sensors)

    def _source(self, store: Store) -> np.ndarray:
        def named(part: Part) -> bool:
            names = (part.facts.source_id, part.raster.name, part.facts.uri)
            return any(fnmatchcase(name, wanted) for name in names for wanted in self.sources)

        return _of_parts(store, named)


def _of_parts(store: Store, test: Callable[[Part], bool]) -> np.ndarray:
    return np.repeat([test(p) for p in store.parts], [p.count for p in store.parts])


def _utc(time: datetime) -> np.datetime64:
    plain = time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    return np.datetime64(plain, "us")


def parse_time(text: str) -> datetime:
    """A date or a time as ISO 8601 writes it.

    Raises:
        DataError: It is neither.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise DataError("that is no date", found=repr(text), expected="ISO 8601, such as 2024-05-31") from None


def parse_bbox(text: str) -> tuple[float, float, float, float]:
    """``WEST,SOUTH,EAST,NORTH`` in degrees.

    Raises:
        DataError: It is not four numbers in range and order.
    """
    try:
        west, south, east, north = (float(p) for p in text.split(","))
    except ValueError:
        west = south = east = north = np.nan
    if not (abs(west) <= 180 and abs(east) <= 180 and -90 <= south <= north <= 90):
        raise DataError("a box is WEST,SOUTH,EAST,NORTH in degrees", found=repr(text), expected="such as 11,47,12,48")
    return west, south, east, north
