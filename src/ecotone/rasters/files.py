"""Which files a raster is made of, what they say about their channels, and how they lie on one grid."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import rasterio
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from rasterio.vrt import WarpedVRT

from ecotone.errors import DataError
from ecotone.rasters.gsd import pixel_gsd
from ecotone.rasters.recognise import Header
from ecotone.sensors import Sensor, sensor, sensor_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rasterio.io import DatasetReader

RASTER_SUFFIXES = (".tif", ".tiff", ".gtif", ".jp2", ".vrt", ".img", ".png", ".jpg", ".jpeg", ".bmp")
_PITCH = re.compile(r"\d+m")  # the last word of Sentinel-2 file names, as in T32TQM_20200101_B02_10m.jp2


@contextmanager
def readable(path: str) -> Iterator[None]:
    """Turn GDAL's complaints about one file into a DataError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield
    except (RasterioIOError, OSError) as error:
        reason = str(error.__cause__ or error).replace(path, "the file")
        raise DataError(f"cannot read {path}", found=reason, mend="Check that the file is complete.") from error


def list_files(source: str | Path | Sequence[str | Path], wanted: Sensor | None) -> tuple[str, ...]:
    """The files of a source: itself, the per-band files of a folder, or those listed.

    Raises:
        DataError: Nothing is there, or a folder holds no per-band files, two for one band, or several sensors' files.
    """
    if not isinstance(source, (str, Path)):
        files = tuple(str(f) for f in source)
        if not files:
            raise DataError("no files to read", expected="at least one")
        return files
    if Path(source).is_dir():
        return _band_files(Path(source), wanted)
    if not is_remote(str(source)) and not Path(source).exists():
        raise DataError(f"there is no file {source}")
    return (str(source),)


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


def is_remote(source: str) -> bool:
    """Whether a source is a URL or a path of GDAL's virtual file systems."""
    return "://" in source or source.startswith("/vsi")


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
            alike.setdefault(_before_band(file), []).append(file)
    known = [sensor(name) for name in sensor_names()]
    stacks = {}
    for prefix, group in alike.items():
        first = max(known, key=lambda s: sum(s.find(band_word(f)) is not None for f in group))
        stack = [f for f in group if first.find(band_word(f))]
        if len(stack) > 1 and not _has_several_bands(stack[0]):
            stacks[prefix] = stack
    return stacks


def _before_band(file: Path) -> str:
    """The name of a per-band file up to its band; ``SR`` and the like belong to the band."""
    word = band_word(file)
    return re.sub(r"(?:(?:^|[_\-. ])(?:SR|ST|TOA|BOA))?[_\-. ]*$", "", file.stem[: file.stem.rindex(word)])


def _has_several_bands(file: Path) -> bool:
    try:
        with readable(str(file)), rasterio.open(file) as opened:
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


def open_files(paths: Sequence[str]) -> list[DatasetReader]:
    """Open all files, or none of them.

    Raises:
        DataError: A file cannot be read.
    """
    opened: list[DatasetReader] = []
    try:
        for path in paths:
            with readable(path):
                opened.append(rasterio.open(path))
    except DataError:
        for file in opened:
            file.close()
        raise
    return opened


def on_one_grid(files: Sequence[DatasetReader]) -> list[DatasetReader | WarpedVRT]:
    """All files on the grid of the finest, the coarser ones interpolated bilinearly."""
    grid = finest(files)
    return [f if f.shape == grid.shape else _resampled(f, grid) for f in files]


def finest(files: Sequence[DatasetReader]) -> DatasetReader:
    """The file with the smallest pixels."""
    return min(files, key=lambda f: abs(f.transform.determinant))


def _resampled(file: DatasetReader, grid: DatasetReader) -> WarpedVRT:
    return WarpedVRT(
        file,
        crs=grid.crs,
        transform=grid.transform,
        width=grid.width,
        height=grid.height,
        resampling=Resampling.bilinear,
    )


def check_aligned(files: Sequence[DatasetReader]) -> None:
    """Check that files can form one stack.

    Raises:
        DataError: They have different CRSs or extents, or differ in size and have no CRS.
    """
    grid = finest(files)
    for file in files:
        _check_pair(grid, file)


def _check_pair(grid: DatasetReader, file: DatasetReader) -> None:
    slack = 0.01 * abs(grid.transform.determinant) ** 0.5
    if grid.crs is None and file.shape != grid.shape:
        raise DataError(f"{file.name} and {grid.name} differ in size and have no CRS, so they cannot share a grid")
    if file.crs != grid.crs:
        raise DataError(f"{file.name} and {grid.name} have different CRSs", found=file.crs, expected=grid.crs)
    if any(abs(a - b) > slack for a, b in zip(file.bounds, grid.bounds, strict=True)):
        raise DataError(
            f"{file.name} and {grid.name} cover different areas",
            found=tuple(file.bounds),
            expected=tuple(grid.bounds),
            mend="Cut them to the same extent first.",
        )


def image_channels(file: DatasetReader, declared: Sequence[int]) -> list[int]:
    """Numbers (from 1) of the channels that hold an image, not its transparency.

    GDAL marks the fourth channel of any 8-bit file as transparency unless its writer said otherwise, so where as many
    bands are declared as there are channels, all of them are bands.
    """
    opaque = [i for i, c in enumerate(file.colorinterp, 1) if c != ColorInterp.alpha]
    return list(range(1, file.count + 1)) if file.count in declared and len(opaque) not in declared else opaque


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
