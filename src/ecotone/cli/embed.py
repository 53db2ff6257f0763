"""``ecotone embed``."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ecotone.cli.output import JsonOption, console, write_json

if TYPE_CHECKING:
    from ecotone.weights import Model

SensorOption = Annotated[str | None, typer.Option(help="Sensor of the image, where it does not say.")]
BandsOption = Annotated[str | None, typer.Option(metavar="B2,B3,…", help="Names of its bands, in channel order.")]
UnitOption = Annotated[str | None, typer.Option(help="Unit of its pixels, such as 'reflectance x 10000'.")]
GsdOption = Annotated[float | None, typer.Option(help="Its metres per pixel, where its georeference does not say.")]
MaskOption = Annotated[
    str | None,
    typer.Option(help="Leave out what its quality layer (SCL, QA60, QA_PIXEL …) marks: clouds, snow or clouds,snow."),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("embed")(embed)


def embed(
    raster: Annotated[str, typer.Argument(help="A file, a Sentinel-2 product, or a folder of per-band files.")],
    model: Annotated[Path, typer.Option("--model", help="Run or model folder.")],
    out: Annotated[Path, typer.Option("--out", help="A .parquet file, or a folder.")],
    per: Annotated[str, typer.Option(help="One embedding per chip or per patch.")] = "chip",
    chip: Annotated[int | None, typer.Option(help="Side of a window in pixels; default: the model's own.")] = None,
    overlap: Annotated[int, typer.Option(help="Pixels by which windows overlap.")] = 0,
    min_valid: Annotated[float, typer.Option(help="Smallest share of valid pixels to embed.")] = 0.5,
    sensor: SensorOption = None,
    bands: BandsOption = None,
    unit: UnitOption = None,
    gsd: GsdOption = None,
    mask: MaskOption = None,
    convert: Annotated[str | None, typer.Option(help="Display conversion before the model: rgb8.")] = None,
    batch_size: Annotated[int, typer.Option(help="Windows in one forward pass.")] = 32,
    device: DeviceOption = "auto",
    json_: JsonOption = None,
) -> None:
    """Turn a raster of any size into embeddings: GeoParquet, and its principal components as COG and PNG.

    Example: ecotone embed scene.tif --model runs/s2 --out scene.parquet

    Example: ecotone embed scene.tif --model runs/s2 --out maps/ --per patch --json -
    """
    from ecotone.inference import EmbedOptions, embed_raster

    options: dict[str, Any] = {"per": per, "chip": chip, "overlap": overlap, "min_valid": min_valid}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        warnings_printed(),
        open_image(raster, sensor, bands, unit, gsd, mask) as opened,
        Progress(*columns, console=console) as progress,
    ):
        task = progress.add_task(f"{Path(raster).name}, windows")
        summary = embed_raster(
            load_on(model, device),
            opened,
            out=out,
            options=EmbedOptions(**options, convert=convert, batch_size=batch_size),
            command=shlex.join(["ecotone", *sys.argv[1:]]),
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    gsd_text = "unknown GSD" if summary.gsd is None else f"{summary.gsd:g} m per pixel ({summary.gsd_source})"
    console.print(
        f"{summary.rows} embeddings of {summary.dimension} numbers, {summary.dropped} dropped, {gsd_text}, "
        f"{summary.seconds:.1f} s, {summary.mpix_per_s:.2f} MPix/s"
    )
    for path in summary.files.values():
        console.print(f"  {path}", highlight=False, soft_wrap=True)
    write_json(json_, summary.as_json())


def open_image(
    path: str, sensor: str | None, bands: str | None, unit: str | None, gsd: float | None, mask: str | None = None
) -> Any:  # a Raster: rasters are imported late, so that --help stays quick
    """A raster with what the command line declares about it."""
    from ecotone.rasters import open_raster

    names = [b.strip() for b in bands.split(",")] if bands else None
    return open_raster(path, sensor=sensor, bands=names, unit=unit, gsd=gsd, mask=mask)


def load_on(folder: Path, device: str) -> Model:
    """A model on a device; ``auto`` takes a GPU if there is one.

    Raises:
        RecipeError: There is no such device.
    """
    from ecotone.inference import load

    return load(folder, device=device).model


@contextmanager
def warnings_printed() -> Iterator[None]:
    """Show warnings as sentences for users, without the line of code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: console.print(f"[bold yellow]Warning:[/] {message}")
        yield
