"""Embeddings on disk: store, search and pictures of them."""

from ecotone.embeddings.change import Change, write_change
from ecotone.embeddings.change_scores import ChangeScore, score_change
from ecotone.embeddings.classes import classes_at
from ecotone.embeddings.components import Components, fit_components, write_components, write_pictures
from ecotone.embeddings.filters import Filter, parse_bbox, parse_time
from ecotone.embeddings.folder import delete_source
from ecotone.embeddings.geometry import GeometryReport, geometry_report, write_geometry_page
from ecotone.embeddings.hits import Hit, check_format, write_geojson, write_hits_as
from ecotone.embeddings.index import IndexSummary, IndexWarning, build_index
from ecotone.embeddings.novelty import Novelty, write_novelty
from ecotone.embeddings.parts import Part
from ecotone.embeddings.places import Place, parse_place, parse_point, read_shapes
from ecotone.embeddings.schema import RasterFacts, SourceFacts, StoreFacts
from ecotone.embeddings.score_maps import write_score_maps
from ecotone.embeddings.search import query_rows, search
from ecotone.embeddings.sources import open_source
from ecotone.embeddings.store import Store, open_store
from ecotone.embeddings.units import Units, write_units
from ecotone.embeddings.writer import Rows, StoreWriter

__all__ = [
    "Change",
    "ChangeScore",
    "Components",
    "Filter",
    "GeometryReport",
    "Hit",
    "IndexSummary",
    "IndexWarning",
    "Novelty",
    "Part",
    "Place",
    "RasterFacts",
    "Rows",
    "SourceFacts",
    "Store",
    "StoreFacts",
    "StoreWriter",
    "Units",
    "build_index",
    "check_format",
    "classes_at",
    "delete_source",
    "fit_components",
    "geometry_report",
    "open_source",
    "open_store",
    "parse_bbox",
    "parse_place",
    "parse_point",
    "parse_time",
    "query_rows",
    "read_shapes",
    "score_change",
    "search",
    "write_change",
    "write_components",
    "write_geojson",
    "write_geometry_page",
    "write_hits_as",
    "write_novelty",
    "write_pictures",
    "write_score_maps",
    "write_units",
]
