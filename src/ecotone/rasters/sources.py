"""Source: one scene of a listing, and its id."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecotone.rasters.declared import Declaration
from ecotone.rasters.folders import RASTER_SUFFIXES
from ecotone.rasters.opening import open_raster
from ecotone.rasters.raster import Raster

_DROPPED = (*RASTER_SUFFIXES, ".zip", ".safe")  # what an id leaves away


@dataclass(frozen=True)
class Source:
    """One scene that can be opened as one raster.

    Attributes:
        id: Unique in a listing, the same whatever else is listed with it, and safe as the name of a file: the scene's
            name and 12 hexadecimal digits of the SHA-256 of its full path (without the signature of a signed URL).
        path: What ``open_raster`` takes: a file, a folder, a URL, or the files of one stack.
        declared: What a catalogue declares about it; None leaves that to the nearest ``dataset.yaml``.
    """

    id: str
    path: str | tuple[str, ...]
    declared: Declaration | None = None

    def open(self, **choices: Any) -> Raster:
        """Open the scene; ``choices`` are the keyword arguments of ``open_raster``.

        Raises:
            DataError: The scene cannot be read, or does not fit what is declared.
        """
        return open_raster(self.path, **{"declared": self.declared, **choices})

    def __str__(self) -> str:
        return self.path if isinstance(self.path, str) else f"{self.path[0]} and {len(self.path) - 1} more"


def source_id(name: str, full: str) -> str:
    """The id of a scene of this name and full path: safe as the name of a file on any system."""
    while Path(name).suffix.lower() in _DROPPED:
        name = Path(name).stem
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:80].strip("-._") or "scene"
    return f"{plain}-{hashlib.sha256(full.encode()).hexdigest()[:12]}"
