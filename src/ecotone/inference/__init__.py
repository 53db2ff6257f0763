"""Models over rasters of any size."""

from ecotone.inference.embed import EmbeddingSummary, embed_query, embed_raster
from ecotone.inference.embedder import AssumedGsdWarning, EmbedOptions

__all__ = ["AssumedGsdWarning", "EmbedOptions", "EmbeddingSummary", "embed_query", "embed_raster"]
