"""``ecotone index remove``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecotone.cli.output import JsonOption, console, write_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("remove")(remove)


def remove(
    store: Annotated[Path, typer.Argument(help="A folder that ecotone embed wrote.")],
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE…", help="Ids, or the paths or URLs embedded.")],
    json_: JsonOption = None,
) -> None:
    """Remove sources from a store: their rows, pictures and grids. Safe to repeat.

    Example: ecotone index remove store scenes/june.tif
    """
    from ecotone.embeddings import delete_source

    removed = {source: delete_source(store, source) for source in sources}
    for source, was_there in removed.items():
        console.print(f"{source}: {'removed' if was_there else 'not in the store'}", highlight=False, soft_wrap=True)
    write_json(json_, {"store": str(store), "removed": removed})
