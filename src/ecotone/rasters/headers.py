"""What opened files say about their channels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rasterio.enums import ColorInterp, MaskFlags

from ecotone.rasters.files import finest
from ecotone.rasters.folders import band_word, is_band
from ecotone.rasters.gsd import pixel_gsd
from ecotone.rasters.quality import quality_kind
from ecotone.rasters.recognise import Header

if TYPE_CHECKING:
    from rasterio.io import DatasetReader


def image_channels(file: DatasetReader, declared: Sequence[int]) -> list[int]:
    """Numbers (from 1) of the channels that hold an image, not its transparency nor its quality layers.

    GDAL marks the fourth channel of any 8-bit file as transparency unless its writer said otherwise, so where as many
    bands are declared as there are channels, all of them are bands.
    """
    opaque = [i for i, c in enumerate(file.colorinterp, 1) if c != ColorInterp.alpha]
    image = [i for i in opaque if not quality_kind(file.descriptions[i - 1] or "")] or opaque
    return list(range(1, file.count + 1)) if file.count in declared and len(image) not in declared else image


def has_mask(file: DatasetReader, channels: Sequence[int]) -> bool:
    """Whether the file carries a mask, or a transparency channel that is not one of its image channels."""
    flags = file.mask_flag_enums[0]
    return MaskFlags.per_dataset in flags and not (MaskFlags.alpha in flags and len(channels) == file.count)


def header_of(
    source: str, files: Sequence[DatasetReader], channels: Sequence[list[int]], dtype: str, nodata: float | None
) -> Header:
    """What the channels of opened files say; those of single-band files also by the last word of the file's name."""
    at = [(f, i) for f, numbers in zip(files, channels, strict=True) for i in numbers]
    described = [f.descriptions[i - 1] or "" for f, i in at]
    alone = [f.count == 1 and is_band(band_word(f.name)) for f, _ in at]
    described = [band_word(f.name) if a else d for d, a, (f, _) in zip(described, alone, at, strict=True)]
    grid = finest(files)
    said = [f.tags(ns="ENVI").get("sensor_type") for f in files]
    return Header(
        source=source,
        descriptions=tuple(described),
        colours=tuple(f.colorinterp[i - 1].name for f, i in at),
        wavelengths=tuple(_wavelength(f.tags(i)) for f, i in at),
        words=(Path(files[0].name).stem, *(s for s in said if s)),
        dtype=dtype,
        nodata=nodata,
        gsd=pixel_gsd(grid.crs, grid.transform, grid.shape),
    )


def _wavelength(tags: dict[str, str]) -> float | None:
    """Centre wavelength in nm of a channel that says it, as those of ENVI files do."""
    scale = {"micrometers": 1e3, "um": 1e3, "nanometers": 1.0, "nm": 1.0}.get(tags.get("wavelength_units", "").lower())
    try:
        return float(tags["wavelength"]) * scale if scale and "wavelength" in tags else None
    except ValueError:
        return None
