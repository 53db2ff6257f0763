"""The options of ``ecotone search`` that say what to look for and which rows to look among."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ecotone.embeddings import Filter

PointOption = Annotated[str | None, typer.Option(metavar="LON,LAT", help="Search what resembles this place.")]
PolygonOption = Annotated[
    str | None, typer.Option(metavar="FILE|WKT", help="Search what resembles this area: the mean of its rows.")
]
IdOption = Annotated[list[str] | None, typer.Option("--id", help="Search what resembles this row; repeatable.")]
ChipOption = Annotated[str | None, typer.Option(help="Search what resembles this image; needs --model.")]
PositiveOption = Annotated[
    list[str] | None, typer.Option(metavar="PLACE", help="An example: LON,LAT, FILE, WKT or row id; repeatable.")
]
NegativeOption = Annotated[
    list[str] | None, typer.Option(metavar="PLACE", help="A counter-example; without any, rows are drawn.")
]
BboxOption = Annotated[str | None, typer.Option(metavar="W,S,E,N", help="Only rows that touch this box in degrees.")]
WithinOption = Annotated[str | None, typer.Option(metavar="FILE|WKT", help="Only rows that touch these shapes.")]
AfterOption = Annotated[str | None, typer.Option(metavar="DATE", help="Only rows acquired then or later.")]
BeforeOption = Annotated[str | None, typer.Option(metavar="DATE", help="Only rows acquired earlier.")]
MinValidOption = Annotated[float | None, typer.Option(min=0, max=1, help="Only rows with this share of valid pixels.")]
OnlySensorOption = Annotated[list[str] | None, typer.Option(help="Only rows of this sensor; repeatable.")]
OnlySourceOption = Annotated[
    list[str] | None, typer.Option(help="Only rows of this source: id, name or path, * for anything; repeatable.")
]


def query_of(
    point: str | None,
    polygon: str | None,
    ids: list[str] | None,
    chip: str | None,
    positive: list[str] | None,
    negative: list[str] | None,
) -> dict[str, Any]:
    """The query that the options name, as arguments of a search; empty for a chip.

    Raises:
        RecipeError: There is not one query.
    """
    import shapely

    from ecotone.embeddings import parse_place, parse_point, read_shapes
    from ecotone.errors import RecipeError

    given = [x for x in (point, polygon, ids, chip, positive) if x]
    if len(given) != 1:
        raise RecipeError("a search needs one query", expected="one of --point, --polygon, --id, --chip or --positive")
    if negative and not positive:
        raise RecipeError("--negative needs --positive")
    if point:
        return {"point": parse_point(point)}
    if polygon:
        return {"polygon": shapely.union_all(read_shapes(polygon))}
    if ids:
        return {"ids": ids}
    if positive:
        examples, counter = ([p for text in texts for p in parse_place(text)] for texts in (positive, negative or []))
        return {"positives": examples, "negatives": counter}
    return {}


def filter_of(
    bbox: str | None,
    within: str | None,
    after: str | None,
    before: str | None,
    min_valid: float | None,
    sensors: list[str] | None,
    sources: list[str] | None,
) -> Filter | None:
    """The filter that the options name; None without any."""
    import shapely

    from ecotone.embeddings import Filter, parse_bbox, parse_time, read_shapes

    found = Filter(
        bbox=parse_bbox(bbox) if bbox else None,
        within=shapely.union_all(read_shapes(within)) if within else None,
        after=parse_time(after) if after else None,
        before=parse_time(before) if before else None,
        min_valid=min_valid,
        sensors=tuple(sensors or ()),
        sources=tuple(sources or ()),
    )
    return None if found == Filter() else found
