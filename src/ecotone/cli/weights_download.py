"""``ecotone weights download``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecotone.cli.output import JsonOption, console, write_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("download")(download)


def download(
    name: Annotated[str, typer.Argument(help="A name that `ecotone weights list` prints.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the file; default: the cache.")] = None,
    json_: JsonOption = None,
) -> None:
    """Download released weights as their authors published them. What an interruption left is continued.

    Example: ecotone weights download spectral-gpt-plus
    """
    from ecotone.weights import entry, fetch_file

    known = entry(name)
    console.print(f"{known.name}: {known.trained_on}. Licence: {known.licence}.", highlight=False, soft_wrap=True)
    file = fetch_file(name, out)
    size = file.stat().st_size
    checked = "checksum as published" if known.sha256 else "no checksum is published"
    console.print(f"{file}, {size / 1e6:,.1f} MB, {checked}", highlight=False, soft_wrap=True)
    write_json(json_, {"file": str(file), "bytes": size, **known.model_dump(mode="json")})
