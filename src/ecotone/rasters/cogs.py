"""Layers as cloud-optimised GeoTIFFs: GDAL reads the raw rows through a description of them and copies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import rasterio.shutil
from affine import Affine
from rasterio.crs import CRS
from rasterio.dtypes import _gdal_typename
from rasterio.errors import RasterioError

from ecotone.errors import OutputError
from ecotone.files import replacing, write_errors
from ecotone.rasters.layers import Layer, Layers


def write_cogs(layers: Layers, paths: Sequence[Path], crs: CRS | None, transform: Affine) -> None:
    """Turn every layer into a cloud-optimised GeoTIFF, all of them or none.

    Args:
        layers: Closed.
        paths: One file for each layer.
        crs: CRS of the grid.
        transform: Pixel (column, row) to CRS coordinates.

    Raises:
        OutputError: A file cannot be written.
    """
    made = [layers.folder / f"{layer.name}.tif" for layer in layers.layers]
    for layer, path in zip(layers.layers, made, strict=True):
        source = layers.folder / f"{layer.name}.vrt"
        source.write_text(_vrt(layer, layers.shape, crs, transform), "utf-8")
        _copy_cog(source, path, resampling="average" if layer.scale or layer.dtype == "float32" else "mode")
    for temporary, path in zip(made, paths, strict=True):
        with replacing(path) as partial:
            temporary.replace(partial)


def _copy_cog(source: Path, path: Path, *, resampling: str) -> None:
    options = {"compress": "deflate", "blocksize": 512, "overview_resampling": resampling, "bigtiff": "if_safer"}
    try:
        with write_errors(path):
            rasterio.shutil.copy(source, path, driver="COG", num_threads="all_cpus", **options)
    except RasterioError as error:
        raise OutputError(
            f"cannot write {path}", found=" ".join(str(error).split()), mend="Free some space, or write elsewhere."
        ) from error


def _vrt(layer: Layer, shape: tuple[int, int], crs: CRS | None, transform: Affine) -> str:
    """GDAL's description of the raw rows (https://gdal.org/drivers/raster/vrt.html): lines of all channels in turn."""
    (height, width), size = shape, np.dtype(layer.dtype).itemsize
    where = "" if crs is None else f"<SRS>{escape(crs.to_wkt())}</SRS>"
    if not transform.is_identity:
        where += f"<GeoTransform>{', '.join(map(repr, transform.to_gdal()))}</GeoTransform>"
    tags = "".join(f"<MDI key={quoteattr(k)}>{escape(v)}</MDI>" for k, v in sorted(layer.tags.items()))
    bands = "".join(
        f'<VRTRasterBand dataType="{_gdal_typename(layer.dtype)}" band="{i}" subClass="VRTRawRasterBand">'
        f"<Description>{escape(text)}</Description>{_meaning(layer)}"
        f'<SourceFilename relativeToVRT="1">{layer.name}.bil</SourceFilename>'
        f"<ImageOffset>{(i - 1) * width * size}</ImageOffset><PixelOffset>{size}</PixelOffset>"
        f"<LineOffset>{layer.row_bytes * width}</LineOffset><ByteOrder>LSB</ByteOrder></VRTRasterBand>"
        for i, text in enumerate(layer.descriptions, 1)
    )
    head = f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{where}'
    return f"{head}<Metadata>{tags}</Metadata>{bands}</VRTDataset>"


def _meaning(layer: Layer) -> str:
    """What the numbers of a band mean; colours of values that are none are black, as GDAL's tables have no gaps."""
    parts = f"<NoDataValue>{layer.nodata}</NoDataValue>"
    if layer.unit:
        parts += f"<UnitType>{escape(layer.unit)}</UnitType>"
    if layer.scale:
        parts += f"<Offset>0</Offset><Scale>{layer.scale!r}</Scale>"
    if layer.colours:
        entries = (layer.colours.get(i) for i in range(256))
        table = "".join('<Entry c1="{}" c2="{}" c3="{}" c4="255"/>'.format(*(c or (0, 0, 0))) for c in entries)
        parts += f"<ColorInterp>Palette</ColorInterp><ColorTable>{table}</ColorTable>"
    return parts
