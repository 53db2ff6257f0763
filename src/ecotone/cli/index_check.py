"""``ecotone index check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ecotone.cli.output import JsonOption, console, counted, write_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("check")(check)


def check(
    store: Annotated[Path, typer.Argument(help="What ecotone embed wrote: a .parquet file or a folder.")],
    json_: JsonOption = None,
) -> None:
    """Read every row of a store and every file of its index, and name what is damaged.

    Example: ecotone index check stores/alps
    """
    from ecotone import embeddings

    with console.status("Reading"):
        found = embeddings.check_store(store)
    for sentence in found.damaged:
        console.print(f"[red]Damaged:[/] {escape(sentence)}", highlight=False, soft_wrap=True)
    if found.stale:
        console.print(f"[yellow]Warning:[/] {escape(found.stale)}", highlight=False, soft_wrap=True)
    index = f"{found.index_files} files of its index" if found.index_files else "no index"
    state = f"{len(found.damaged)} damaged" if found.damaged else "all whole"
    console.print(f"{counted(found.sources, 'source')} and {index}: {state}", highlight=False)
    write_json(json_, vars(found))
    if found.damaged:
        raise typer.Exit(1)
