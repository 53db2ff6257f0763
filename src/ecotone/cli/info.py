"""``ecotone info``."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Annotated, Any

import typer

from ecotone.cli.output import JsonOption, console, write_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("info")(info)


def info(
    target: Annotated[
        str | None, typer.Argument(help="Model or run folder, or the name of released weights or a sensor.")
    ] = None,
    json_: JsonOption = None,
) -> None:
    """Tell what this installation, a model or a sensor is.

    Example: ecotone info runs/eurosat

    Example: ecotone info sentinel2-l2a
    """
    from ecotone.weights import catalogue

    is_model = target is not None and (Path(target).is_dir() or target in catalogue())
    found = _installation() if target is None else _model(target) if is_model else _sensor(target)
    for name, value in found.items():
        console.print(f"[bold]{name}[/]: {value}", highlight=False)
    write_json(json_, found)


def _installation() -> dict[str, Any]:
    import torch

    import ecotone
    from ecotone.encoders import encoder_kinds
    from ecotone.methods import method_kinds
    from ecotone.sensors import sensor_names
    from ecotone.training.precision import resolve_precision

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "ecotone": ecotone.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {os.cpu_count()} cores",
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
        "precision auto means": resolve_precision("auto", device),
        "sensors": sensor_names(),
        "encoders": sorted(encoder_kinds()),
        "methods": sorted(method_kinds()),
    }


def _model(folder: str) -> dict[str, Any]:
    from ecotone.weights import is_predictor, load_model, load_predictor

    head = load_predictor(folder) if is_predictor(folder) else None
    model = load_model(folder) if head is None else head.model
    parameters = sum(p.numel() for p in model.encoder.parameters())
    found = {"hash": model.hash, "parameters": parameters, **model.card.model_dump(mode="json")}
    return found if head is None else {**found, "head": head.card.model_dump(mode="json")}


def _sensor(name: str) -> dict[str, Any]:
    from ecotone.sensors import sensor

    return sensor(name).model_dump(mode="json", exclude_none=True)
