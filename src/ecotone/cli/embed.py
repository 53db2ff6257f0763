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
from rich.markup import escape

from ecotone.cli.output import JsonOption, console, counted, share_machine, write_json
from ecotone.cli.raster_progress import RasterProgress
from ecotone.cli.roles import WithOption, one_source, open_roles

if TYPE_CHECKING:
    from ecotone.rasters import Source
    from ecotone.weights import Model

SourcesArgument = Annotated[
    list[str], typer.Argument(metavar="SOURCE…", help="Files, folders, patterns, @list files, .SAFE, zips, URLs.")
]
SensorOption = Annotated[str | None, typer.Option(help="Sensor of the image, where it does not say.")]
BandsOption = Annotated[str | None, typer.Option(metavar="B2,B3,…", help="Names of its bands, in channel order.")]
UnitOption = Annotated[str | None, typer.Option(help="Unit of its pixels, such as 'reflectance x 10000'.")]
GsdOption = Annotated[float | None, typer.Option(help="Its metres per pixel, where its georeference does not say.")]
MaskOption = Annotated[
    str | None,
    typer.Option(help="Leave out what its quality layer (SCL, QA60, QA_PIXEL …) marks: clouds, snow or clouds,snow."),
]
AtGsdOption = Annotated[
    str | None,
    typer.Option(metavar="METRES", help="Resample to this GSD first; 'model': the nearest that the model knows."),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("embed")(embed)


def embed(
    sources: SourcesArgument,
    model: Annotated[Path, typer.Option("--model", help="Run or model folder.")],
    out: Annotated[Path, typer.Option("--out", help="A .parquet file for one source, or a folder for any number.")],
    per: Annotated[str, typer.Option(help="One embedding per chip or per patch.")] = "chip",
    chip: Annotated[int | None, typer.Option(help="Side of a window in pixels; default: the model's own.")] = None,
    overlap: Annotated[int, typer.Option(help="Pixels by which windows overlap.")] = 0,
    min_valid: Annotated[float, typer.Option(help="Smallest share of valid pixels to embed.")] = 0.5,
    dtype: Annotated[str, typer.Option(help="How vectors are stored: float32, float16 or int8.")] = "float32",
    zarr: Annotated[bool, typer.Option("--zarr", help="Write the vectors also as a georeferenced Zarr grid.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Embed also what the folder holds already.")] = False,
    with_: WithOption = None,
    sensor: SensorOption = None,
    bands: BandsOption = None,
    unit: UnitOption = None,
    gsd: GsdOption = None,
    mask: MaskOption = None,
    at_gsd: AtGsdOption = None,
    convert: Annotated[str | None, typer.Option(help="Display conversion before the model: rgb8.")] = None,
    batch_size: Annotated[int, typer.Option(help="Windows in one forward pass.")] = 32,
    device: DeviceOption = "auto",
    json_: JsonOption = None,
) -> None:
    """Turn rasters of any size into embeddings: GeoParquet, and their principal components as COG and PNG.

    Example: ecotone embed scene.tif --model runs/s2 --out scene.parquet

    Example: ecotone embed scenes/ 'more/*.tif' --model runs/s2 --out store --per patch --json -
    """
    share_machine()
    from ecotone.inference import EmbedOptions
    from ecotone.inference.embed import SUFFIXES
    from ecotone.rasters import list_sources

    settings: dict[str, Any] = {"per": per, "chip": chip, "overlap": overlap, "min_valid": min_valid, "dtype": dtype}
    settings |= {"convert": convert, "batch_size": batch_size, "at_gsd": parse_gsd(at_gsd)}
    given: dict[str, Any] = {"options": EmbedOptions(**settings), "zarr": zarr}
    given["command"] = shlex.join(["ecotone", *sys.argv[1:]])
    choices = {"sensor": sensor, "bands": split_names(bands), "unit": unit, "gsd": gsd, "mask": mask}
    if out.suffix not in SUFFIXES and not with_:
        return _many(list_sources(sources), choices, load_on(model, device), out, overwrite, given, json_)
    source = one_source(list_sources(sources), with_, "the embeddings")
    _one(source, choices, with_, load_on(model, device), out, given, json_)


def _one(
    source: Source,
    choices: dict[str, Any],
    others: list[str] | None,
    model: Model,
    out: Path,
    given: dict[str, Any],
    json_: str | None,
) -> None:
    from ecotone.inference import embed_raster
    from ecotone.inference.predict_scenes import progress_of

    with (
        warnings_printed(),
        open_roles(source, choices, others, model.encoder.spec) as rasters,
        RasterProgress() as bars,
    ):
        tell = progress_of(next(iter(rasters.values())), source, 0, 1, (0.0, 0.0), bars.step)
        summary = embed_raster(model, rasters, out=out, on_progress=tell, **given)
    gsd_text = "unknown GSD" if summary.gsd is None else f"{summary.gsd:g} m per pixel ({summary.gsd_source})"
    console.print(
        f"{counted(summary.rows, 'embedding')} of {summary.dimension} numbers, {summary.dropped} dropped, {gsd_text}, "
        f"{summary.seconds:.1f} s, {summary.mpix_per_s:.2f} MPix/s"
    )
    _print_fidelity(summary.fidelity)
    for path in summary.files.values():
        console.print(f"  {path}", highlight=False, soft_wrap=True)
    write_json(json_, summary.as_json())


def _many(
    listed: list[Source],
    choices: dict[str, Any],
    model: Model,
    out: Path,
    overwrite: bool,
    given: dict[str, Any],
    json_: str | None,
) -> None:
    from ecotone.inference import embed_sources

    with warnings_printed(), RasterProgress(len(listed)) as bars:
        report = embed_sources(
            model,
            listed,
            out=out,
            choices=choices,
            overwrite=overwrite,
            on_progress=bars.step,
            **given,
        )
    speed = f", {report.mpix / report.seconds:.2f} MPix/s" if report.embedded else ""
    console.print(
        f"{counted(len(report.embedded), 'source')} embedded, {len(report.skipped)} done before, "
        f"{len(report.quarantine)} in quarantine, {report.seconds:.1f} s{speed}"
    )
    rows = f"{counted(report.rows, 'embedding')} of {counted(report.sources, 'source')}"
    console.print(f"{report.store}: {rows}", highlight=False)
    _print_fidelity(report.fidelity)
    for reason in report.quarantine.values():
        console.print(f"[bold red]Quarantine:[/] {escape(reason)}", highlight=False, soft_wrap=True)
    write_json(json_, report.as_json())
    if report.quarantine:
        raise typer.Exit(1)


def _print_fidelity(lost: dict[str, Any] | None) -> None:
    if lost:
        recall = lost["recall_at_10"]
        kept = "" if recall is None else f", {recall:.1%} of the 10 nearest neighbours kept ({lost['sample']} rows)"
        console.print(f"stored vectors: mean cosine {lost['mean_cosine']:.6f} with the original ones{kept}")


def open_image(
    path: str, sensor: str | None, bands: str | None, unit: str | None, gsd: float | None, mask: str | None = None
) -> Any:  # a Raster: rasters are imported late, so that --help stays quick
    """A raster with what the command line declares about it."""
    from ecotone.rasters import open_raster

    return open_raster(path, sensor=sensor, bands=split_names(bands), unit=unit, gsd=gsd, mask=mask)


def split_names(text: str | None) -> list[str] | None:
    """The names in ``B2,B3,B4``."""
    return [name.strip() for name in text.split(",")] if text else None


def parse_gsd(text: str | None) -> Any:
    """The value of ``--at-gsd``: metres per pixel, ``model``, or None.

    Raises:
        RecipeError: It is none of these.
    """
    from ecotone.errors import RecipeError

    try:
        return text if text in (None, "model") else float(text)
    except ValueError:
        raise RecipeError("--at-gsd takes metres per pixel", found=text, expected="a number, or model") from None


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
