"""``ecotone index build``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecotone.cli.embed import warnings_printed
from ecotone.cli.output import JsonOption, console, counted, step_bars, write_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("build")(build)


def build(
    store: Annotated[Path, typer.Argument(help="What ecotone embed wrote: a .parquet file or a folder.")],
    kind: Annotated[
        str | None,
        typer.Option(help="exact, or hnsw: a graph, less than exact; default: a graph above a million rows."),
    ] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Forget the index that there is.")] = False,
    json_: JsonOption = None,
) -> None:
    """Make searching a store fast, or bring its index up to date: only sources that are new or changed are read.

    Example: ecotone index build stores/alps
    """
    from ecotone import embeddings
    from ecotone.errors import RecipeError

    if kind not in (None, "exact", "hnsw"):
        raise RecipeError("no such kind of index", found=kind, expected="exact or hnsw")
    opened = embeddings.open_store(store)
    with warnings_printed(), step_bars() as tell:
        made = embeddings.build_index(
            opened,
            kind=kind,  # pyright: ignore[reportArgumentType] checked above
            rebuild=rebuild,
            on_progress=tell,
        )
    facts = made.facts
    console.print(
        f"{facts.rows} rows of {counted(len(facts.sources), 'source')}: "
        f"{made.added} added, {made.kept} kept, {made.removed} removed; "
        f"{made.size / 2**20:.1f} MiB, {made.seconds:.1f} s"
    )
    console.print(
        f"recall@10 {facts.recall_at_10:.4f} against exact search over {facts.sampled} sampled rows, "
        f"{facts.queries_per_s:.0f} queries/s"
    )
    console.print(f"  {made.folder}", highlight=False, soft_wrap=True)
    write_json(json_, made.as_json())
