"""``ecotone predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ecotone.cli.embed import (
    AtGsdOption,
    BandsOption,
    DeviceOption,
    GsdOption,
    MaskOption,
    SensorOption,
    SourcesArgument,
    UnitOption,
    parse_gsd,
    split_names,
    warnings_printed,
)
from ecotone.cli.output import JsonOption, console, counted, share_machine, write_json
from ecotone.cli.raster_progress import RasterProgress
from ecotone.cli.roles import WithOption, one_source, open_roles
from ecotone.errors import CheckpointError, RecipeError

if TYPE_CHECKING:
    from ecotone.inference import Prediction, PredictionReport
    from ecotone.rasters import Source
    from ecotone.weights import LoadedPredictor


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("predict")(predict)


def predict(
    sources: SourcesArgument,
    model: Annotated[Path, typer.Option("--model", help="Predictor: what ecotone finetune wrote.")],
    out: Annotated[Path, typer.Option("--out", help="A .tif file or .zarr folder for one source, or a folder.")],
    window: Annotated[int | None, typer.Option(help="Side of a window in pixels; default: the model's own.")] = None,
    overlap: Annotated[
        int | None, typer.Option(help="Pixels by which windows overlap; default: an eighth of a window for pixels.")
    ] = None,
    blend: Annotated[str, typer.Option(help="Where windows overlap: cosine, linear or crop.")] = "cosine",
    flips: Annotated[bool, typer.Option("--flips", help="Mean over each window and its mirror images.")] = False,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Write those of each class too.")] = False,
    uncertainty: Annotated[bool, typer.Option("--uncertainty", help="Write the entropy of the answers too.")] = False,
    polygons: Annotated[
        str | None, typer.Option(metavar="KIND", help="Write the classes as polygons too: gpkg or parquet.")
    ] = None,
    min_area: Annotated[float, typer.Option(help="Smallest polygon in square metres; smaller ones join others.")] = 0.0,
    simplify: Annotated[float, typer.Option(help="Metres by which outlines may be simplified.")] = 0.0,
    min_valid: Annotated[float, typer.Option(help="Smallest share of valid pixels to answer for an image.")] = 0.5,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Predict also what the folder holds already.")] = False,
    with_: WithOption = None,
    sensor: SensorOption = None,
    bands: BandsOption = None,
    unit: UnitOption = None,
    gsd: GsdOption = None,
    mask: MaskOption = None,
    at_gsd: AtGsdOption = None,
    convert: Annotated[str | None, typer.Option(help="Display conversion before the model: rgb8.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Windows in one forward pass; default: 4, on a GPU 32.")
    ] = None,
    device: DeviceOption = "auto",
    json_: JsonOption = None,
) -> None:
    """Turn rasters of any size into maps: cloud-optimised GeoTIFFs, and polygons. A stopped run goes on where it was.

    Example: ecotone predict scene.tif --model runs/fields --out map.tif --probabilities --uncertainty

    Example: ecotone predict scenes/ --model runs/fields --out maps --polygons gpkg --min-area 500 --simplify 10
    """
    share_machine()
    from ecotone.inference import PredictOptions, predict_scenes
    from ecotone.rasters import list_sources
    from ecotone.rasters.polygons import check_kind

    if polygons is not None:
        check_kind(polygons)
    shapes = None if polygons is None else (polygons, min_area, simplify)
    settings: dict[str, Any] = {"window": window, "overlap": overlap, "blend": blend, "batch_size": batch_size}
    settings |= {"flips": flips, "probabilities": probabilities, "uncertainty": uncertainty}
    options = PredictOptions(**settings, min_valid=min_valid, convert=convert, at_gsd=parse_gsd(at_gsd))
    choices = {"sensor": sensor, "bands": split_names(bands), "unit": unit, "gsd": gsd, "mask": mask}
    loaded, listed = _load(model, device), list_sources(sources)
    single = out.suffix.lower() in (".tif", ".tiff", ".zarr")
    if polygons is not None and loaded.card.task not in ("classification", "segmentation"):
        raise RecipeError("polygons are made of a map of classes", found=loaded.card.task)
    if polygons is not None and out.suffix == ".zarr":
        raise RecipeError("polygons are made of a GeoTIFF", found=str(out), mend="Let --out end in .tif.")
    if with_ and not single:
        raise RecipeError("--with goes with one scene", found=f"--out {out}", mend="Let --out end in .tif or .zarr.")
    source = one_source(listed, with_, "the map") if single else None
    with warnings_printed(), RasterProgress(len(listed)) as bars:
        given: dict[str, Any] = {"options": options, "on_progress": bars.step}
        if source:
            report = _one(loaded, source, out, choices, with_, given)
        else:
            report = predict_scenes(loaded, listed, out=out, choices=choices, overwrite=overwrite, **given)
    for made in report.predicted.values():
        _tell(made, loaded.card.classes, shapes)
    for reason in report.quarantine.values():
        console.print(f"[bold red]Quarantine:[/] {escape(reason)}", highlight=False, soft_wrap=True)
    if not single:
        counts = f"{counted(len(report.predicted), 'scene')} predicted, {len(report.skipped)} done before"
        console.print(f"{counts}, {len(report.quarantine)} in quarantine, {report.seconds:.1f} s")
    write_json(json_, report.as_json())
    if report.quarantine:
        raise typer.Exit(1)


def _load(model: Path, device: str) -> LoadedPredictor:
    from ecotone.inference import load

    loaded = load(model, device=device)
    if loaded.predictor is None:
        raise CheckpointError(
            f"{model} is an encoder without a head", expected="a predictor", mend="Make one with ecotone finetune."
        )
    return loaded.predictor


def _one(
    loaded: LoadedPredictor,
    source: Source,
    out: Path,
    choices: dict[str, Any],
    others: list[str] | None,
    given: dict[str, Any],
) -> PredictionReport:
    """One scene into one file: what is wrong with it is an error."""
    from ecotone.inference import PredictionReport, predict_raster
    from ecotone.inference.predict_scenes import progress_of

    with open_roles(source, choices, others, loaded.predictor.spec) as rasters:
        tell = progress_of(next(iter(rasters.values())), source, 0, 1, (0.0, 0.0), given["on_progress"])
        made = predict_raster(loaded, rasters, out=out, options=given["options"], on_progress=tell)
    return PredictionReport(str(out), {source.id: made}, seconds=made.seconds)


def _tell(made: Prediction, classes: tuple[str, ...], shapes: tuple[str, float, float] | None) -> None:
    """Print what was written, and write the polygons."""
    from ecotone.rasters.polygons import KINDS, write_polygons

    resumed = f", {made.resumed_rows} rows from a run before" if made.resumed_rows else ""
    told = "unknown GSD" if made.gsd is None else f"{made.gsd:g} m per pixel ({made.gsd_source})"
    size = f"{made.shape[0]} x {made.shape[1]}"
    console.print(f"{size}, {told}, {made.seconds:.1f} s, {made.mpix / made.seconds:.2f} MPix/s{resumed}")
    for path in made.files.values():
        console.print(f"  {path}", highlight=False, soft_wrap=True)
    if shapes:
        kind, min_area, simplify = shapes
        path = Path(made.files["map"]).with_suffix(KINDS[kind])
        count = write_polygons(made.files["map"], path, classes, min_area=min_area, simplify=simplify)
        console.print(f"  {path}, {count} polygons", highlight=False, soft_wrap=True)
