"""``ecotone index report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ecotone.cli.output import JsonOption, console, write_json

if TYPE_CHECKING:
    from ecotone.embeddings import GeometryReport


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("report")(report)


def report(
    store: Annotated[Path, typer.Argument(help="What ecotone embed wrote: a .parquet file or a folder.")],
    k: Annotated[int, typer.Option("-k", help="Neighbours of each row.")] = 20,
    sample: Annotated[int, typer.Option(help="Rows that are measured at most.")] = 10_000,
    labels: Annotated[
        Path | None, typer.Option(help="Raster of classes: adds how well neighbours share a class.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws the sample, the Gaussian twin and the intervals.")] = 0,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots.")] = None,
    json_: JsonOption = None,
) -> None:
    """Tell on how many dimensions embeddings lie, how they curve and cluster, and what that means for search.

    Example: ecotone index report scene.parquet --html geometry.html
    """
    from ecotone import embeddings
    from ecotone.embeddings.geometry.page import reading

    opened = embeddings.open_store(store)
    classes = embeddings.classes_at(opened, labels) if labels else None
    with console.status("Measuring the geometry"):
        found = embeddings.geometry_report(opened, k=k, sample=sample, seed=seed, labels=classes)
    console.print(_table(found))
    for sentence in reading(found):
        console.print(sentence, highlight=False)
    if html:
        embeddings.write_geometry_page(found, html)
    write_json(json_, found.to_dict())


def _table(found: GeometryReport) -> Table:
    from ecotone.embeddings.geometry.page import interval, number

    table = Table("figure", "value", "95 % interval", "Gaussian twin", "at random")
    for f in found.figures:
        table.add_row(f.title, number(f.value) or "not defined", interval(f), number(f.twin), number(f.random))
    return table
