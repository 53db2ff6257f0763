"""``ecotone weights verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecotone.cli.output import JsonOption, console, write_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("verify")(verify)


def verify(
    model: Annotated[str, typer.Argument(help="Run or model folder, or a name that `ecotone weights list` prints.")],
    against: Annotated[Path | None, typer.Option(help="The official file that it was imported from.")] = None,
    json_: JsonOption = None,
) -> None:
    """Check a model: its hash, its tensors, a forward pass, and that it equals the official file.

    Example: ecotone weights verify models/spectral-gpt-plus --against SpectralGPT+.pth
    """
    from ecotone.weights import verify

    with console.status(f"verifying {model}"):
        found = verify(model, against)
    known = "as its card says" if found.hash_known else "its card names none"
    console.print(f"weights: sha256 {found.sha256}, {known}", highlight=False, soft_wrap=True)
    console.print(f"encoder: {found.tensors} tensors, {found.parameters / 1e6:.1f} M parameters, all finite")
    maps = ", ".join(str(m) for m in found.maps)
    console.print(f"two images of {found.image_size} px: vectors {found.pooled}, maps {maps}, all finite")
    if against is not None:
        console.print(f"{found.compared} tensors equal those of {against}", highlight=False, soft_wrap=True)
    write_json(json_, found.as_json())
