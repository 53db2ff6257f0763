"""``ecotone demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ecotone.cli.output import JsonOption, console, write_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("demo")(demo)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("demo"),
    chips: Annotated[int, typer.Option(min=120, help="Synthetic chips to learn from and to be examined on.")] = 900,
    images: Annotated[int | None, typer.Option(min=64, help="Images seen in pretraining.")] = None,
    scene: Annotated[int, typer.Option(min=128, help="Side of the scene in pixels.")] = 768,
    json_: JsonOption = None,
) -> None:
    """Pretrain, prove and use an encoder on a synthetic Earth: about 4 minutes on two cores, nothing downloaded.

    Example: ecotone demo --out demo
    """
    from ecotone.demo import run_demo
    from ecotone.demo.page import write_page
    from ecotone.demo.story import Size

    columns = (TextColumn("{task.description:16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        tasks = {}

        def show(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step, total=total)
            progress.update(tasks[step], completed=done, total=total)

        story = run_demo(out, Size(chips=chips, images=images, scene=scene), show)
        page = write_page(story)
    assert story.report is not None  # a finished story has one
    for verdict in story.report.verdicts:
        console.print(verdict.text, markup=False)
    console.print(f"All of it synthetic. The story: [bold]{page}[/]", soft_wrap=True)
    write_json(
        json_,
        {
            "page": str(page),
            "seconds": story.seconds,
            "embedding": story.embedding,
            "agreement": {"nearest": story.agreement[0], "random": story.agreement[1]},
            "scale_means": [vars(m) for m in story.report.means],
        },
    )
