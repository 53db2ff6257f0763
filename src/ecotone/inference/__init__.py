"""Models over rasters of any size."""

from ecotone.inference.embed import EmbeddingSummary, embed_raster
from ecotone.inference.embed_store import Step, StoreReport, embed_sources
from ecotone.inference.embedder import EmbedOptions
from ecotone.inference.loaded import LeftOutWarning, Loaded, load
from ecotone.inference.predict import Prediction, predict_raster
from ecotone.inference.predict_scenes import PredictionReport, predict_scenes
from ecotone.inference.prediction_job import PredictOptions
from ecotone.inference.query import embed_query
from ecotone.inference.told import AssumedGsdWarning

__all__ = [
    "AssumedGsdWarning",
    "EmbedOptions",
    "EmbeddingSummary",
    "LeftOutWarning",
    "Loaded",
    "PredictOptions",
    "Prediction",
    "PredictionReport",
    "Step",
    "StoreReport",
    "embed_query",
    "embed_raster",
    "embed_sources",
    "load",
    "predict_raster",
    "predict_scenes",
]
