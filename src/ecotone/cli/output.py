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


def share_machine() -> None:
    """Settings of OpenMP and GDAL for work that streams, unless the user says otherwise; before torch is loaded.

    Reading, the model and writing share the cores, and a thread that spins while it waits keeps the others from
    working: OpenMP's threads sleep instead. Every block of a file is decoded once, so GDAL keeps 64 MiB of them and not
    a twentieth of the memory.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GDAL_CACHEMAX", "64")


def counted(number: int, noun: str) -> str:
    """``1 scene``, ``2 scenes``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


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
