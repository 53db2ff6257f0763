"""``ecotone search``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ecotone.cli.embed import (
    BandsOption,
    DeviceOption,
    GsdOption,
    SensorOption,
    UnitOption,
    load_on,
    open_image,
    warnings_printed,
)
from ecotone.cli.output import JsonOption, console, write_json
from ecotone.cli.search_options import (
    AfterOption,
    BboxOption,
    BeforeOption,
    ChipOption,
    IdOption,
    MinValidOption,
    NegativeOption,
    OnlySensorOption,
    OnlySourceOption,
    PointOption,
    PolygonOption,
    PositiveOption,
    WithinOption,
    filter_of,
    query_of,
)

if TYPE_CHECKING:
    from ecotone.embeddings import Hit, Store
    from ecotone.rasters import Raster


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("search")(search)


def search(
    store: Annotated[Path, typer.Argument(help="What ecotone embed wrote: a .parquet file or a folder.")],
    point: PointOption = None,
    polygon: PolygonOption = None,
    id_: IdOption = None,
    chip: ChipOption = None,
    positive: PositiveOption = None,
    negative: NegativeOption = None,
    model: Annotated[Path | None, typer.Option("--model", help="The model that made the store.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many neighbours.")] = 10,
    each: Annotated[bool, typer.Option("--each", help="Search the rows of an area one by one.")] = False,
    radius: Annotated[float, typer.Option(min=0, help="Leave out rows within so many metres of the query's.")] = 0,
    bbox: BboxOption = None,
    within: WithinOption = None,
    after: AfterOption = None,
    before: BeforeOption = None,
    min_valid: MinValidOption = None,
    only_sensor: OnlySensorOption = None,
    only_source: OnlySourceOption = None,
    centre: Annotated[bool, typer.Option(help="Subtract the store's mean vector first.")] = True,
    exact: Annotated[bool, typer.Option("--exact", help="Do without the graph of an index.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the hits: .geojson, .parquet (GeoParquet) or .gpkg.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Write a PNG of the query and its first hits.")] = None,
    score_map: Annotated[
        Path | None, typer.Option(help="Write the probability by the examples: a .tif, or a folder.")
    ] = None,
    sensor: SensorOption = None,
    bands: BandsOption = None,
    unit: UnitOption = None,
    gsd: GsdOption = None,
    device: DeviceOption = "auto",
    json_: JsonOption = None,
) -> None:
    """Find the places whose embeddings are nearest to those of a place, an image or a few examples.

    Example: ecotone search scene.parquet --point 11.58,48.14 -k 10 --picture hits.png

    Example: ecotone search scene.parquet --chip field.tif --model runs/s2 --out hits.geojson

    Example: ecotone search stores/alps --positive lakes.gpkg --negative shadows.gpkg -k 100 --out found.gpkg
    """
    from ecotone import embeddings

    query = query_of(point, polygon, id_, chip, positive, negative)
    options = {"k": k, "each": each, "radius": radius, "centre": centre, "exact": exact}
    options["where"] = filter_of(bbox, within, after, before, min_valid, only_sensor, only_source)
    _check(query, chip, model, out, score_map)
    opened = embeddings.open_store(store)
    with warnings_printed(), ExitStack() as files:
        image = files.enter_context(open_image(chip, sensor, bands, unit, gsd)) if chip else None
        if image and model:
            query["vector"] = _embedded(image, model, device, opened)
        found = embeddings.search(opened, **query, **options)
        if picture:
            _draw(picture, opened, found, query, image)
        if score_map:
            embeddings.write_score_maps(opened, query["positives"], query["negatives"], score_map, centre=centre)
    if out:
        embeddings.write_hits_as(found, out)
    console.print(_table(found))
    asked = {"point": query.get("point"), "polygon": polygon, "ids": id_, "chip": chip}
    asked |= {"positives": positive, "negatives": negative}
    about = {"store": str(opened.path), "model_hash": opened.facts.model_hash, "centred": centre}
    write_json(json_, {**about, "query": asked, "hits": [h.as_json() for h in found]})


def _embedded(image: Raster, model: Path, device: str, store: Store) -> Any:
    """The vector of an image by the model that made the store."""
    from ecotone.inference import embed_query

    return embed_query(load_on(model, device), image, store)


def _draw(path: Path, store: Store, found: list[Hit], query: dict[str, Any], image: Raster | None) -> None:
    """Write a picture of the query, an image or rows of the store, and its first hits."""
    from ecotone.embeddings import query_rows
    from ecotone.inference import pictures

    pictures.write_hits(path, store, found, image or query_rows(store, **query).tolist())


def _check(
    query: dict[str, Any], chip: str | None, model: Path | None, out: Path | None, score_map: Path | None
) -> None:
    from ecotone.embeddings import check_format
    from ecotone.errors import RecipeError

    if chip and model is None:
        raise RecipeError("--chip needs the model that made the store", mend="Give it with --model.")
    if score_map and "positives" not in query:
        raise RecipeError("--score-map needs examples", mend="Give some with --positive.")
    if out:
        check_format(out)


def _table(found: list[Hit]) -> Table:
    scored = any(h.probability is not None for h in found)
    table = Table("rank", "distance", *(["probability"] if scored else []), "longitude", "latitude", "valid", "id")
    for h in found:
        score = [] if h.probability is None else [f"{h.probability:.3f}"]
        where = [f"{h.lon:.5f}", f"{h.lat:.5f}", f"{h.valid_fraction:.0%}", h.id]
        table.add_row(str(h.rank), f"{h.distance:.4f}", *score, *where)
    return table
