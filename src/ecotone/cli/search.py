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

if TYPE_CHECKING:
    from ecotone.embeddings import Hit


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("search")(search)


def search(
    store: Annotated[Path, typer.Argument(help="What ecotone embed wrote: a .parquet file or a folder.")],
    point: Annotated[str | None, typer.Option(metavar="LON,LAT", help="Search what resembles this place.")] = None,
    chip: Annotated[str | None, typer.Option(help="Search what resembles this image; needs --model.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="The model that made the store.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many neighbours.")] = 10,
    centre: Annotated[bool, typer.Option(help="Subtract the store's mean vector first.")] = True,
    out: Annotated[Path | None, typer.Option("--out", help="Write the hits as GeoJSON.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Write a PNG of the query and its first hits.")] = None,
    sensor: SensorOption = None,
    bands: BandsOption = None,
    unit: UnitOption = None,
    gsd: GsdOption = None,
    device: DeviceOption = "auto",
    json_: JsonOption = None,
) -> None:
    """Find the places whose embeddings are nearest to those of a point or an image, exactly.

    Example: ecotone search scene.parquet --point 11.58,48.14 -k 10 --picture hits.png

    Example: ecotone search scene.parquet --chip field.tif --model runs/s2 --out hits.geojson
    """
    from ecotone import embeddings
    from ecotone.errors import RecipeError
    from ecotone.inference import embed_query, pictures

    if (point is None) == (chip is None):
        raise RecipeError("a search needs one query", expected="either --point or --chip")
    opened = embeddings.open_store(store)
    query: dict[str, Any] = {}
    with warnings_printed(), ExitStack() as files:
        source = files.enter_context(embeddings.open_source(opened.parts[0])) if picture else None
        image = None
        if point is not None:
            query["point"] = embeddings.parse_point(point)
        else:
            if model is None:
                raise RecipeError("--chip needs the model that made the store", mend="Give it with --model.")
            image = files.enter_context(open_image(str(chip), sensor, bands, unit, gsd))
            query["vector"] = embed_query(load_on(model, device), image, opened)
        found = embeddings.search(opened, **query, k=k, centre=centre)
        if picture and source:
            pictures.write_hits(picture, opened, found, source, image if image else query["point"])
    if out:
        embeddings.write_geojson(found, out)
    console.print(_table(found))
    write_json(
        json_,
        {
            "store": str(opened.path),
            "model_hash": opened.facts.model_hash,
            "query": {"point": query.get("point"), "chip": chip},
            "centred": centre,
            "hits": [h.as_json() for h in found],
        },
    )


def _table(found: list[Hit]) -> Table:
    table = Table("rank", "distance", "longitude", "latitude", "valid", "id")
    for h in found:
        table.add_row(str(h.rank), f"{h.distance:.4f}", f"{h.lon:.5f}", f"{h.lat:.5f}", f"{h.valid_fraction:.0%}", h.id)
    return table
