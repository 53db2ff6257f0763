"""Ecotone: pretrain a geospatial encoder, prove what it is worth, and use it on rasters of any size."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ecotone.data import open_dataset
    from ecotone.data.synthetic import World
    from ecotone.embeddings import open_store, search
    from ecotone.errors import EcotoneError
    from ecotone.evaluation import evaluate
    from ecotone.inference import embed_raster, load
    from ecotone.rasters import open_raster
    from ecotone.sensors import sensor
    from ecotone.training import load_recipe, run_recipe
    from ecotone.weights import load_model

# Loaded when first asked for, so that `import ecotone` and the command line's --help stay quick.
_HOMES = {
    "EcotoneError": "ecotone.errors",
    "World": "ecotone.data.synthetic",
    "embed_raster": "ecotone.inference",
    "evaluate": "ecotone.evaluation",
    "load": "ecotone.inference",
    "load_model": "ecotone.weights",
    "load_recipe": "ecotone.training",
    "open_dataset": "ecotone.data",
    "open_raster": "ecotone.rasters",
    "open_store": "ecotone.embeddings",
    "run_recipe": "ecotone.training",
    "search": "ecotone.embeddings",
    "sensor": "ecotone.sensors",
}

__all__ = [
    "EcotoneError",
    "World",
    "embed_raster",
    "evaluate",
    "load",
    "load_model",
    "load_recipe",
    "open_dataset",
    "open_raster",
    "open_store",
    "run_recipe",
    "search",
    "sensor",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ecotone' has no attribute {name!r}")
