"""Rasters: windowed reading of anything GDAL reads, and writing of cloud-optimised GeoTIFFs. They know no model."""

from ecotone.rasters.declared import Declaration, find_declaration, read_declaration
from ecotone.rasters.listing import list_sources
from ecotone.rasters.opening import GsdWarning, open_raster
from ecotone.rasters.raster import Raster
from ecotone.rasters.resampling import at_gsd
from ecotone.rasters.sources import Source
from ecotone.rasters.write import write_cog

__all__ = [
    "Declaration",
    "GsdWarning",
    "Raster",
    "Source",
    "at_gsd",
    "find_declaration",
    "list_sources",
    "open_raster",
    "read_declaration",
    "write_cog",
]
