"""``ecotone data inspect``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import track
from rich.table import Table

from ecotone.cli.output import JsonOption, console, write_json

if TYPE_CHECKING:
    from ecotone.data import Dataset


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("inspect")(inspect)


def inspect(
    path: Annotated[Path, typer.Argument(help="Folder, tar shard or HDF5 file.")],
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    sensor: Annotated[str | None, typer.Option(help="Sensor whose bands these are.")] = None,
    bands: Annotated[str | None, typer.Option(help="Bands to look at, separated by commas.")] = None,
    gsd: Annotated[float | None, typer.Option(help="Metres per pixel.")] = None,
    sample: Annotated[int, typer.Option(min=1, help="How many samples are read for sizes and values.")] = 500,
    picture: Annotated[Path | None, typer.Option(help="Write a contact sheet, or all modalities, as PNG.")] = None,
    json_: JsonOption = None,
) -> None:
    """Tell what a dataset holds: samples, classes, splits, bands, units, GSD, values, and files that are broken.

    A dataset of several modalities, such as MMEarth, is shown with a tile of each, legends and units.

    Example: ecotone data inspect data/eurosat --picture sheet.png
    """
    from ecotone.data import modalities_of, open_dataset, with_masks
    from ecotone.data.inspection import contact_sheet, survey
    from ecotone.data.modality_sheet import modality_sheet

    chosen = [b.strip() for b in bands.split(",")] if bands else None
    dataset = open_dataset(path, split=split, sensor=sensor, bands=chosen, gsd=gsd)
    found = survey(dataset, sample=sample, follow=lambda steps: track(steps, "reading", console=console))
    if json_ != "-":
        _print(dataset, found)
    if picture:
        draw = modality_sheet if modalities_of(dataset) else contact_sheet
        console.print(f"picture: {draw(with_masks(dataset, path), picture)}")
    write_json(json_, found)


def _print(dataset: Dataset, found: dict[str, Any]) -> None:
    info = dataset.info
    for name in ("name", "task", "sensor", "unit", "licence", "split_kind", "synthetic", "samples", "read"):
        console.print(f"[bold]{name.replace('_', ' ')}[/]: {'unknown' if found[name] is None else found[name]}")
    gsd = found["gsd_range"]
    metres = "unknown" if gsd is None else f"{gsd[0]:g} m" if gsd[0] == gsd[1] else f"{gsd[0]:g} to {gsd[1]:g} m"
    console.print(f"[bold]gsd[/]: {metres} ({info.gsd_source})")
    console.print(f"[bold]bands[/]: {', '.join(info.bands)}")
    for name in ("splits", "sizes"):
        console.print(f"[bold]{name}[/]: {', '.join(f'{k} ({v})' for k, v in found[name].items()) or 'none'}")
    if found["classes"]:
        console.print(_classes(found["classes"]))
    table = Table("band", *("min", "2 %", "median", "98 %", "max"), "mean", "std", title=f"values in {info.unit}")
    for band, value in found["values"].items():
        table.add_row(band, *(f"{value[k]:.5g}" for k in ("min", "p2", "median", "p98", "max", "mean", "std")))
    console.print(table)
    if found["modalities"]:
        console.print(_modalities(found["modalities"]))
    for key, reason in list(found["broken"].items())[:20]:
        console.print(f"[red]broken[/] {key}: {reason}", highlight=False)
    if len(found["broken"]) > 20:
        console.print(f"[red]… and {len(found['broken']) - 20} more[/]")


def _modalities(modalities: dict[str, dict[str, Any]]) -> Table:
    table = Table("modality", "per", "values", "unit", "missing", title="modalities")
    for name, known in modalities.items():
        what = f"{known['channels']} {'channels' if known['kind'] == 'continuous' else 'classes'}"
        table.add_row(name, known["scope"], what, known["unit"] or "", f"{known['missing_share']:.1%}")
    return table


def _classes(classes: dict[str, dict[str, int]]) -> Table:
    splits = sorted({split for counts in classes.values() for split in counts})
    table = Table("class", *(s or "samples" for s in splits))
    for name, counts in classes.items():
        table.add_row(name, *(str(counts.get(s, 0)) for s in splits))
    total = Counter({s: sum(c.get(s, 0) for c in classes.values()) for s in splits})
    table.add_row("[bold]all[/]", *(str(total[s]) for s in splits))
    return table
