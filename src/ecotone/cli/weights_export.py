"""``ecotone weights export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecotone.cli.output import JsonOption, console, write_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("export")(export)


def export(
    model: Annotated[str, typer.Argument(help="Run or model folder, or a name that `ecotone weights list` prints.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    format: Annotated[str, typer.Option("--format", help="safetensors or onnx.")] = "safetensors",
    size: Annotated[int | None, typer.Option(help="onnx: side of the images in pixels; default: the model's.")] = None,
    level: Annotated[str | None, typer.Option(help="onnx: processing level whose statistics are used.")] = None,
    json_: JsonOption = None,
) -> None:
    """Write a model for other programs: one safetensors file, or an ONNX graph from raw pixels to features.

    The ONNX graph normalises inside, takes any number of images, and is compared with the model before it is kept.

    Example: ecotone weights export runs/eurosat --format onnx --out eurosat.onnx
    """
    from ecotone.weights import export

    with console.status(f"exporting {model}"):
        made = export(model, out, format, size=size, level=level)
    for kind, tensors in (("in", made.inputs), ("out", made.outputs)):
        for name, what in tensors.items():
            console.print(f"{kind}: {name} {what}", highlight=False)
    if made.largest_difference is not None:
        console.print(f"largest difference to PyTorch {made.largest_difference:.2g}, of {made.largest_feature:.2g}")
    console.print(f"{made.file}", highlight=False, soft_wrap=True)
    write_json(json_, made.as_json())
