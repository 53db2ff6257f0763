"""``ecotone data label``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ecotone.cli.embed import BandsOption, GsdOption, MaskOption, SensorOption, UnitOption, open_image, warnings_printed
from ecotone.cli.output import JsonOption, console, step_bars, write_json
from ecotone.errors import RecipeError

if TYPE_CHECKING:
    from ecotone.data.vector_labels import LabelSummary


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("label")(label)


def label(
    rasters: Annotated[list[str], typer.Argument(metavar="RASTER…", help="Rasters alike in bands and unit.")],
    vectors: Annotated[Path, typer.Option(help="GeoPackage, GeoJSON, Shapefile, GeoParquet …: points or polygons.")],
    out: Annotated[Path, typer.Option(help="A new dataset folder.")],
    as_: Annotated[str, typer.Option("--as", help="masks, chips or pixels.")] = "masks",
    column: Annotated[str | None, typer.Option(help="Column that holds the class; without it: present or not.")] = None,
    layer: Annotated[str | None, typer.Option(help="Layer of the vector file.")] = None,
    background: Annotated[str | None, typer.Option(help="Class of what no shape covers.")] = None,
    area: Annotated[Path | None, typer.Option(help="Polygons of the area that was labelled.")] = None,
    size: Annotated[int | None, typer.Option(help="Side in pixels: 256 of masks, 64 of chips, 9 of pixels.")] = None,
    all_touched: Annotated[bool, typer.Option("--all-touched", help="Polygons cover all pixels they touch.")] = False,
    rule: Annotated[str, typer.Option(help="Class of a chip over polygons: majority, centre or any.")] = "majority",
    min_share: Annotated[float | None, typer.Option(help="Smallest share of a chip that its class covers.")] = None,
    limit: Annotated[int | None, typer.Option(help="Most chips or pixels of one class.")] = None,
    min_distance: Annotated[float, typer.Option(help="Metres between chips, or pixels.")] = 0.0,
    min_valid: Annotated[float, typer.Option(help="Smallest share of observed pixels.")] = 0.5,
    split: Annotated[str, typer.Option(help="blocks (by place) or random.")] = "blocks",
    block: Annotated[float | None, typer.Option(help="Side of a block in metres.")] = None,
    buffer: Annotated[float, typer.Option(help="Metres between samples of two splits.")] = 0.0,
    shares: Annotated[str, typer.Option(help="Shares of train, val and test.")] = "0.7,0.15,0.15",
    seed: Annotated[int, typer.Option(help="Fixes splits, and what is drawn.")] = 0,
    sensor: SensorOption = None,
    bands: BandsOption = None,
    unit: UnitOption = None,
    gsd: GsdOption = None,
    mask: MaskOption = None,
    json_: JsonOption = None,
) -> None:
    """Turn points and polygons over rasters into a dataset that finetune and evaluate read, split by place.

    Example: ecotone data label scene.tif --vectors buildings.gpkg --as masks --out data/buildings

    Example: ecotone data label *.tif --vectors crops.shp --column crop --as chips --min-share 0.8 --out data/crops
    """
    from ecotone.data.vector_labels import LabelOptions, label_rasters, read_area, read_shapes

    chosen: dict[str, Any] = {"kind": as_, "rule": rule, "split": split, "shares": _shares(shares)}
    options = LabelOptions(
        **chosen,
        size=size,
        background=background,
        all_touched=all_touched,
        min_share=min_share,
        limit=limit,
        min_distance=min_distance,
        min_valid=min_valid,
        block=block,
        buffer=buffer,
        seed=seed,
    )
    shapes = read_shapes(vectors, column=column, layer=layer, background=background)
    with warnings_printed(), ExitStack() as files, step_bars() as tell:
        opened = [files.enter_context(open_image(r, sensor, bands, unit, gsd, mask)) for r in rasters]
        known = read_area(area) if area else None
        found = label_rasters(opened, shapes, out, options, area=known, source=vectors.name, on_progress=tell)
    _print(found)
    write_json(json_, found.as_json())


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise RecipeError("shares are three numbers", found=repr(text), expected="such as 0.7,0.15,0.15") from None


def _print(found: LabelSummary) -> None:
    table = Table("pixels of" if found.task == "segmentation" else "samples of", *found.splits)
    for name, counts in found.classes.items():
        table.add_row(name, *(str(counts[s]) for s in found.splits))
    table.add_row("[bold]samples[/]", *map(str, found.splits.values()))
    console.print(table)
    for what, number in found.counts.items():
        console.print(f"  {number} {what}", highlight=False)
    absent = [name for name, counts in found.classes.items() if not counts["train"]]
    if absent:
        console.print(f"[yellow]Warning:[/] train holds nothing of {', '.join(absent)}; see --rule and --min-share")
    how = "at random" if found.block is None else f"in blocks of {found.block:g} m"
    console.print(f"{found.samples} samples for {found.task}, split {how}, in [bold]{found.folder}[/]", soft_wrap=True)
