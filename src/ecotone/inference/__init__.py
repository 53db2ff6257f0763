"""Models over rasters of any size."""

from ecotone.inference.embed import EmbeddingSummary, embed_raster
from ecotone.inference.embedder import AssumedGsdWarning, EmbedOptions
from ecotone.inference.query import embed_query

__all__ = ["AssumedGsdWarning", "EmbedOptions", "EmbeddingSummary", "embed_query", "embed_raster"]
