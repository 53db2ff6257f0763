"""The geometry of embeddings: on how many dimensions they lie, how they curve, and what that means for search."""

from ecotone.embeddings.geometry.page import write_geometry_page
from ecotone.embeddings.geometry.report import GeometryReport, geometry_report

__all__ = ["GeometryReport", "geometry_report", "write_geometry_page"]
