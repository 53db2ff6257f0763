"""Model folders in and out, and the weights that authors released: read as data, nothing that executes."""

from ecotone.weights.catalogue import Entry, cache_folder, catalogue, entry
from ecotone.weights.download import download
from ecotone.weights.exporting import Export, export
from ecotone.weights.fetching import fetch_file, fetch_model
from ecotone.weights.importing import ImportReport, import_official
from ecotone.weights.model import (
    Model,
    load_method_state,
    load_model,
    model_folder,
    save_method_state,
    save_model,
)
from ecotone.weights.predictor import LoadedPredictor, is_predictor, load_predictor, save_predictor
from ecotone.weights.verifying import Verification, verify

__all__ = [
    "Entry",
    "Export",
    "ImportReport",
    "LoadedPredictor",
    "Model",
    "Verification",
    "cache_folder",
    "catalogue",
    "download",
    "entry",
    "export",
    "fetch_file",
    "fetch_model",
    "import_official",
    "is_predictor",
    "load_method_state",
    "load_model",
    "load_predictor",
    "model_folder",
    "save_method_state",
    "save_model",
    "save_predictor",
    "verify",
]
