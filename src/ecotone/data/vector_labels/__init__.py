"""Vector labels: points and polygons over rasters become a dataset folder of masks, chips or pixel samples."""

from ecotone.data.vector_labels.labelling import LabelSummary, label_rasters
from ecotone.data.vector_labels.options import LabelOptions
from ecotone.data.vector_labels.shapes import Shapes, read_area, read_shapes

__all__ = ["LabelOptions", "LabelSummary", "Shapes", "label_rasters", "read_area", "read_shapes"]
