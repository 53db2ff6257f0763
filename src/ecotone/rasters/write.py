"""Writing cloud-optimised GeoTIFFs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.io import MemoryFile

from ecotone.errors import DataError
from ecotone.files import replacing


def write_cog(
    path: str | Path,
    array: NDArray[Any],
    *,
    crs: CRS | str | None,
    transform: Affine,
    nodata: float | None = None,
    descriptions: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    colormap: Mapping[int, tuple[int, ...]] | None = None,
) -> Path:
    """Write an array as a cloud-optimised GeoTIFF with overviews; nothing is left behind when it fails.

    Args:
        path: The file to write; its folder is made.
        array: (C, H, W).
        crs: CRS of the grid.
        transform: Pixel (column, row) to CRS coordinates.
        nodata: Stored number that means no observation.
        descriptions: One band description per channel.
        tags: Metadata of the file.
        colormap: Value -> (red, green, blue) or with opacity, 0-255, for one channel of 8-bit classes.

    Raises:
        DataError: The array has another shape, or the file cannot be written, for example because the disk is full.
    """
    if array.ndim != 3:
        raise DataError("a raster is written from an array (C, H, W)", found=tuple(array.shape))
    count, height, width = array.shape
    profile = {"crs": crs, "transform": transform, "nodata": nodata, "dtype": array.dtype, "compress": "deflate"}
    # A tile of the default 512 pixels would make a chip of 64 pixels sixty times its size before compression.
    profile["blocksize"] = min(512, max(128, -(-max(height, width) // 16) * 16))
    resampling = "nearest" if colormap or (array.dtype.kind in "iu" and count == 1) else "average"
    with MemoryFile() as memory:
        with memory.open(
            driver="COG", count=count, height=height, width=width, overview_resampling=resampling, **profile
        ) as file:
            file.write(array)
            file.update_tags(**(tags or {}))
            for number, text in enumerate(descriptions, 1):
                file.set_band_description(number, text)
            if colormap:
                file.write_colormap(1, dict(colormap))
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(memory.getbuffer())
    return Path(path)
