"""``ecotone weights import``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from ecotone.cli.output import JsonOption, console, write_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("import")(import_)


def import_(
    file: Annotated[Path, typer.Argument(help="What the authors released: .pth, .pt, .bin or .safetensors.")],
    method: Annotated[str, typer.Option("--method", help="scale-mae, spectral-gpt or mp-mae.")],
    out: Annotated[Path, typer.Option("--out", help="The model folder to write.")],
    name: Annotated[str | None, typer.Option(help="Name of the model; default: that of the file.")] = None,
    heads: Annotated[int | None, typer.Option(help="Attention heads, for a width that was not published.")] = None,
    decoder_heads: Annotated[int | None, typer.Option(help="Those of the decoder, if not the usual number.")] = None,
    encoder_only: Annotated[bool, typer.Option("--encoder-only", help="Leave the decoder out.")] = False,
    allow: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Tensors to leave out although they are not known.")
    ] = None,
    json_: JsonOption = None,
) -> None:
    """Convert official weights to a model folder. The file is read as data: nothing in it is run.

    Every tensor of the encoder must be there, and every tensor in the file must be known.

    Example: ecotone weights import SpectralGPT+.pth --method spectral-gpt --out models/spectral-gpt-plus
    """
    from ecotone.weights import import_official

    with console.status(f"importing {file.name}"):
        report = import_official(
            file,
            method,
            out,
            name=name,
            heads=heads,
            decoder_heads=decoder_heads,
            encoder_only=encoder_only,
            allow=allow or (),
        )
    console.print(f"encoder: {report.encoder} filled, {report.parameters / 1e6:.1f} M parameters")
    console.print(f"decoder: {report.decoder} filled" if report.decoder else "decoder: none taken from the file")
    for reason, count in Counter(report.ignored.values()).items():
        first = next(n for n, why in report.ignored.items() if why == reason)
        console.print(f"left out: {count} tensors, such as {first}: {reason}", highlight=False)
    if report.allowed:
        console.print(f"left out as asked: {', '.join(report.allowed)}", highlight=False)
    console.print(f"{report.folder}", highlight=False, soft_wrap=True)
    write_json(json_, report.as_json())
