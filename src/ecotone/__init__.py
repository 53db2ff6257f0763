"""Ecotone: pretrain a geospatial encoder, prove what it is worth, and use it on rasters of any size."""

__version__ = "0.1.0"
