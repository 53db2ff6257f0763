"""Quality layers of products: which pixels are cloud, shadow or snow, by the class or bit that the product sets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecotone.errors import DataError, RecipeError, nearest
from ecotone.rasters.folders import RASTER_SUFFIXES, before_band
from ecotone.rasters.remote import is_remote

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

CONDITIONS = ("clouds", "snow")


@dataclass(frozen=True)
class Kind:
    """What the values of a kind of quality layer mean.

    Attributes:
        bits: Condition -> bits (from 0), any of which sets it.
        classes: Condition -> values that set it.
        channels: Condition -> channels (from 1) that are not zero where it holds.
        sensors: Sensors whose products carry this layer in this meaning; empty for any.
    """

    bits: Mapping[str, tuple[int, ...]] | None = None
    classes: Mapping[str, tuple[int, ...]] | None = None
    channels: Mapping[str, tuple[int, ...]] | None = None
    sensors: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """The conditions that it tells."""
        return tuple(self.bits or self.classes or self.channels or {})


# "clouds" are clouds, thin cirrus, their shadows and, where the layer marks it, their rim and missing pixels.
KINDS = {
    # Sentinel-2 Level-2A scene classification (ESA, Sen2Cor): 0 no data, 3 shadow, 8 and 9 cloud, 10 cirrus, 11 snow.
    "SCL": Kind(classes={"clouds": (0, 3, 8, 9, 10), "snow": (11,)}),
    # Sentinel-2 Level-1C raster mask since baseline 04.00: opaque cloud, cirrus, snow in one channel each.
    "MSK_CLASSI": Kind(channels={"clouds": (1, 2), "snow": (3,)}),
    # Sentinel-2 on Earth Engine: bit 10 opaque cloud, bit 11 cirrus; it knows no shadows.
    "QA60": Kind(bits={"clouds": (10, 11)}),
    # Landsat Collection 2 (USGS LSDS-1619): fill, dilated cloud, cirrus, cloud, cloud shadow; snow.
    "QA_PIXEL": Kind(bits={"clouds": (0, 1, 2, 3, 4), "snow": (5,)}),
    # HLS 2.0 user guide: cloud, adjacent to cloud, cloud shadow; snow. Fmask files of other products hold classes.
    "FMASK": Kind(bits={"clouds": (1, 2, 3), "snow": (4,)}, sensors=("hls-l30", "hls-s30")),
}
_NAMED = re.compile(rf"(?:^|[_\-. ])({'|'.join(KINDS)})(?:_B00)?(?:_\d+M)?$")


@dataclass(frozen=True)
class Screen:
    """A quality layer that says which pixels to leave out.

    Attributes:
        path: The file that holds it.
        kind: Its name in ``KINDS``.
        channel: Its channel there, counted from 1.
        conditions: What is left out.
    """

    path: str
    kind: str
    conditions: tuple[str, ...]
    channel: int = 1

    @property
    def channels(self) -> tuple[int, ...]:
        """The channels to read."""
        per_channel = KINDS[self.kind].channels
        return tuple(c for name in self.conditions for c in per_channel[name]) if per_channel else (self.channel,)

    def hides(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Which pixels (H, W) of ``channels`` (C, H, W) are to be left out."""
        kind = KINDS[self.kind]
        if kind.channels:
            return (values != 0).any(0)
        wanted = [v for name in self.conditions for v in (kind.bits or kind.classes or {})[name]]
        if kind.bits:
            return (values[0].astype(np.int64) & sum(1 << bit for bit in wanted)) != 0
        return np.isin(values[0], wanted)


def parse_conditions(text: str) -> tuple[str, ...]:
    """The conditions of an option such as ``clouds,snow``.

    Raises:
        RecipeError: One is unknown.
    """
    names = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    for name in names:
        if name not in CONDITIONS:
            raise RecipeError(f"no quality layer tells {name!r}", mend=nearest(name, CONDITIONS))
    return names


def quality_kind(name: str) -> str | None:
    """The kind of layer that a band or a file of this name (without suffix) is, or None."""
    found = _NAMED.search(name.upper())
    return found[1] if found else None


def find_screen(
    source: str, files: Sequence[DatasetReader], layers: Sequence[str], sensor: str | None, conditions: tuple[str, ...]
) -> Screen:
    """The quality layer of a scene: a band of its files, a layer of its product, or a file beside it.

    Args:
        source: The scene, for messages.
        files: Its opened files.
        layers: Further files of its product.
        sensor: Name of its sensor.
        conditions: What is to be left out.

    Raises:
        DataError: There is none, or it does not tell the conditions.
    """
    inside = [(f.name, k, n) for f in files for n, d in enumerate(f.descriptions, 1) if (k := quality_kind(d or ""))]
    beside = [(p, k, 1) for p in (*layers, *_beside(files[0].name)) if (k := quality_kind(Path(p).stem))]
    found = sorted([*inside, *beside], key=lambda one: list(KINDS).index(one[1]))
    for path, kind, channel in found:
        known = KINDS[kind]
        if set(conditions) <= set(known.known) and (not known.sensors or sensor in known.sensors):
            return Screen(path, kind, conditions, channel)
    wanted = " and ".join(conditions)
    raise DataError(
        f"{source} has no quality layer that tells {wanted}",
        found=", ".join(f"{kind} in {path}" for path, kind, _ in found) or "none",
        expected="SCL, MSK_CLASSI, QA60 or QA_PIXEL, or the Fmask of a declared HLS sensor; a band of the file, "
        "in the product, or a file beside it that is named alike, such as scene_SCL.tif",
        mend="Open it without a mask, or put the layer beside it.",
    )


def _beside(path: str) -> list[str]:
    """Rasters whose names begin like the scene's, in its folder."""
    file = Path(path)
    if is_remote(path):
        return []
    prefix = before_band(file)
    return sorted(
        str(f) for f in file.parent.iterdir() if f.name.startswith(prefix) and f.suffix.lower() in RASTER_SUFFIXES
    )
