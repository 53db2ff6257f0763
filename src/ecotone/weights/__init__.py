"""Model folders in and out: safetensors and a readable card, nothing that executes."""

from ecotone.weights.model import Model, load_model, model_folder, save_model

__all__ = ["Model", "load_model", "model_folder", "save_model"]
