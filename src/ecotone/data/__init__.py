"""Datasets: readers that yield samples, and the stream of batches."""

from ecotone.data.base import Dataset, DatasetInfo, modalities_of
from ecotone.data.cached import Cached
from ecotone.data.catalog import MMEarth
from ecotone.data.cropped import Cropped
from ecotone.data.masks import Masks, with_masks
from ecotone.data.opening import open_dataset
from ecotone.data.quarantine import Quarantine
from ecotone.data.statistics import band_statistics
from ecotone.data.stream import DataStream, batches

__all__ = [
    "Cached",
    "Cropped",
    "DataStream",
    "Dataset",
    "DatasetInfo",
    "MMEarth",
    "Masks",
    "Quarantine",
    "band_statistics",
    "batches",
    "modalities_of",
    "open_dataset",
    "with_masks",
]
