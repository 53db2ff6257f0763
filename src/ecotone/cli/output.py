"""What every verb prints alike: JSON, progress, figures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ecotone.files import replacing

console = Console(stderr=True)

JsonOption = Annotated[
    str | None, typer.Option("--json", metavar="PATH", help="Write the figures as JSON; - for standard output.")
]


def share_cores() -> None:
    """Let OpenMP's threads sleep while they wait, instead of spinning, unless the user says otherwise.

    Reading, the model and writing share the cores, and a thread that spins keeps the others from working. It has to be
    said before torch is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextmanager
def step_bars() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each step, made when it is first told: what is being done, how many are done, how many in all."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what)
            progress.update(tasks[what], completed=done, total=total)

        yield tell


def write_json(target: str | None, content: Any) -> None:
    """Write JSON to a file, or to standard output for ``-``; nothing for None."""
    if target is None:
        return
    text = json.dumps(content, indent=2, allow_nan=False, default=str)
    if target == "-":
        print(text)
        return
    with replacing(Path(target)) as temporary:
        temporary.write_text(text + "\n", "utf-8")
