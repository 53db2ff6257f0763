"""``ecotone evaluate-table``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ecotone.cli.embed import warnings_printed
from ecotone.cli.output import JsonOption, console, write_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("evaluate-table")(evaluate_table)


def evaluate_table(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Run or model folders.")],
    recipe: Annotated[Path, typer.Option("--recipe", help="What to measure: a YAML file.")],
    data: Annotated[Path, typer.Option("--data", help="Folder of dataset folders.")],
    floors: Annotated[bool, typer.Option("--floors/--no-floors", help="Score the floors as well.")] = True,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds over which the random floors are averaged.")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in one forward pass.")] = 64,
    csv: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Write the table as CSV.")] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE.md", help="Write the table as Markdown.")] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where features are kept for the next time; default: the cache.")
    ] = None,
    json_: JsonOption = None,
) -> None:
    """Measure encoders on several datasets at several scales: one table, from those datasets that are there.

    Example: ecotone evaluate-table runs/a --recipe recipes/tables/scale-mae.yaml --data data --markdown table.md
    """
    from ecotone.evaluation.scale_table import load_table, scale_table
    from ecotone.files import cache_folder, replacing

    asked = load_table(recipe)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with warnings_printed(), Progress(*columns, console=console) as progress:
        bars = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in bars or progress.tasks[bars[what]].total != total:
                bars[what] = progress.add_task(what, total=total)
            progress.update(bars[what], completed=done)

        found = scale_table(
            models,
            asked,
            data,
            seeds=seeds,
            floors=floors,
            batch_size=batch_size,
            cache=cache or cache_folder("features"),
            on_progress=show,
        )
    head, *lines = found.lines()
    table = Table(*head, title=asked.name, title_justify="left")
    for line in lines:
        table.add_row(*line)
    console.print(table)
    for name, texts in found.warnings.items():
        for text in texts:
            console.print(f"{name}: {text}", style="yellow", markup=False)
    write_json(json_, found.to_dict())
    for path, text in ((csv, found.csv_text()), (markdown, found.markdown_text())):
        if path is not None:
            with replacing(path) as temporary:
                temporary.write_text(text, "utf-8")
            console.print(f"Written: {path}", soft_wrap=True)
