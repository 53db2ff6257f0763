"""Embeddings on disk: store, search and pictures of them."""

from ecotone.embeddings.change import Change, write_change
from ecotone.embeddings.change_scores import ChangeScore, score_change
from ecotone.embeddings.classes import classes_at
from ecotone.embeddings.components import Components, fit_components, write_components, write_pictures
from ecotone.embeddings.folder import delete_source
from ecotone.embeddings.geometry import GeometryReport, geometry_report, write_geometry_page
from ecotone.embeddings.parts import Part
from ecotone.embeddings.schema import RasterFacts, SourceFacts, StoreFacts
from ecotone.embeddings.search import Hit, parse_point, search, write_geojson
from ecotone.embeddings.sources import open_source
from ecotone.embeddings.store import Store, open_store
from ecotone.embeddings.writer import Rows, StoreWriter

__all__ = [
    "Change",
    "ChangeScore",
    "Components",
    "GeometryReport",
    "Hit",
    "Part",
    "RasterFacts",
    "Rows",
    "SourceFacts",
    "Store",
    "StoreFacts",
    "StoreWriter",
    "classes_at",
    "delete_source",
    "fit_components",
    "geometry_report",
    "open_source",
    "open_store",
    "parse_point",
    "score_change",
    "search",
    "write_change",
    "write_components",
    "write_geojson",
    "write_geometry_page",
    "write_pictures",
]
