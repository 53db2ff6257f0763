"""Embeddings on disk: store, search and pictures of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ecotone.embeddings.change import Change, write_change
from ecotone.embeddings.checking import StoreCheck, check_store
from ecotone.embeddings.classes import classes_at
from ecotone.embeddings.components import Components, fit_components, write_components, write_pictures
from ecotone.embeddings.filters import Filter, parse_bbox, parse_time
from ecotone.embeddings.folder import delete_source
from ecotone.embeddings.hits import Hit, check_format, write_geojson, write_hits_as
from ecotone.embeddings.index import IndexSummary, IndexWarning, build_index
from ecotone.embeddings.parts import Part
from ecotone.embeddings.places import Place, parse_place, parse_point, read_shapes
from ecotone.embeddings.schema import RasterFacts, SourceFacts, StoreFacts
from ecotone.embeddings.score_maps import write_score_maps
from ecotone.embeddings.search import query_rows, search
from ecotone.embeddings.sources import open_source
from ecotone.embeddings.store import Store, open_store
from ecotone.embeddings.writer import Rows, StoreWriter

if TYPE_CHECKING:
    from ecotone.embeddings.change_scores import ChangeScore, score_change
    from ecotone.embeddings.geometry import GeometryReport, geometry_report, write_geometry_page
    from ecotone.embeddings.novelty import Novelty, write_novelty
    from ecotone.embeddings.units import Units, write_units

# Loaded when first asked for: embedding and searching need no scikit-learn and no page.
_HOMES = {
    "ChangeScore": "ecotone.embeddings.change_scores",
    "GeometryReport": "ecotone.embeddings.geometry",
    "Novelty": "ecotone.embeddings.novelty",
    "Units": "ecotone.embeddings.units",
    "geometry_report": "ecotone.embeddings.geometry",
    "score_change": "ecotone.embeddings.change_scores",
    "write_geometry_page": "ecotone.embeddings.geometry",
    "write_novelty": "ecotone.embeddings.novelty",
    "write_units": "ecotone.embeddings.units",
}

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
    "StoreCheck",
    "StoreFacts",
    "StoreWriter",
    "Units",
    "build_index",
    "check_format",
    "check_store",
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


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
