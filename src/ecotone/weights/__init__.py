"""Model folders in and out: safetensors and a readable card, nothing that executes."""

from ecotone.weights.model import (
    Model,
    load_method_state,
    load_model,
    model_folder,
    save_method_state,
    save_model,
)

__all__ = ["Model", "load_method_state", "load_model", "model_folder", "save_method_state", "save_model"]
