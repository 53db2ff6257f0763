"""``ecotone data audit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import track
from rich.table import Table

from ecotone.cli.output import JsonOption, console, write_json

if TYPE_CHECKING:
    from ecotone.data.audit import Audit

LISTED = 20  # pairs that are printed
LEAK = 3  # exit code


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("audit")(audit)


def audit(
    path: Annotated[Path, typer.Argument(help="Folder, tar shard or HDF5 file.")],
    radius: Annotated[
        int, typer.Option(min=0, max=63, help="Bits of 64 in which the hashes of near-duplicates may differ.")
    ] = 10,
    correlation: Annotated[
        float, typer.Option(min=0, max=1, help="Least correlation of the pixels of near-duplicates.")
    ] = 0.9,
    sensor: Annotated[str | None, typer.Option(help="Sensor whose bands these are.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Write a contact sheet of near-duplicates as PNG.")] = None,
    json_: JsonOption = None,
) -> None:
    """Look for near-duplicates within and across the splits, and for classes that are spread unevenly over them.

    The exit code is 3 if near-duplicates lie in two splits, so that a pipeline can stop.

    Example: ecotone data audit data/eurosat --picture twins.png
    """
    from ecotone.data import open_dataset
    from ecotone.data.audit import audit as run
    from ecotone.data.audit import twins_sheet

    dataset = open_dataset(path, sensor=sensor)
    found = run(
        dataset,
        radius=radius,
        correlation=correlation,
        follow=lambda steps: track(steps, "reading", console=console),
    )
    if json_ != "-":
        _print(found)
    if picture and found.pairs:
        console.print(f"picture: {twins_sheet(dataset, found, picture)}", soft_wrap=True)
    write_json(json_, found.to_dict())
    if found.leaks:
        raise typer.Exit(LEAK)


def _print(found: Audit) -> None:
    table = Table("split", "against", "images with a near-duplicate", title="near-duplicates", title_justify="left")
    for o in found.overlaps:
        against = "itself" if o.split == o.against else o.against
        table.add_row(o.split or "all", against or "all", f"{o.images} of {o.of} ({o.images / o.of:.1%})")
    console.print(table)
    table = Table("split", "samples", "largest / smallest class", "class shares away from train", title="classes")
    for split, b in found.balance.items():
        cells = ("" if v is None else f"{v:.3g}" for v in (b.ratio, b.distance))
        table.add_row(split or "all", str(b.samples), *cells)
    console.print(table)
    for t in found.twins[:LISTED]:
        where = " and ".join(f"{key} ({split})" if split else key for key, split in zip(t.keys, t.splits, strict=True))
        console.print(f"{where}: {t.distance} bits apart, correlation {t.correlation:.3f}", highlight=False)
    if len(found.twins) > LISTED:
        console.print(f"… and {len(found.twins) - LISTED} more pairs")
    for text in found.warnings() or ["Nothing to warn of."]:
        console.print(text, style="yellow", markup=False)
