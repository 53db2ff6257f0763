"""Embeddings on disk: store, search and pictures of them."""

from ecotone.embeddings.components import write_components
from ecotone.embeddings.schema import RasterFacts, StoreFacts
from ecotone.embeddings.search import Hit, parse_point, search, write_geojson
from ecotone.embeddings.store import Store, open_store
from ecotone.embeddings.writer import Rows, StoreWriter

__all__ = [
    "Hit",
    "RasterFacts",
    "Rows",
    "Store",
    "StoreFacts",
    "StoreWriter",
    "open_store",
    "parse_point",
    "search",
    "write_components",
    "write_geojson",
]
