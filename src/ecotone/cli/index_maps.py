"""``ecotone index change``, ``novelty`` and ``units``: maps made from embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ecotone.cli.output import JsonOption, console, write_json

if TYPE_CHECKING:
    from ecotone.embeddings import Change, ChangeScore

StoreArgument = Annotated[Path, typer.Argument(help="What ecotone embed wrote: a .parquet file or a folder.")]
OutOption = Annotated[Path, typer.Option("--out", help="A .tif file, or a folder with one per source.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("change")(change)


def change(
    before: Annotated[Path, typer.Argument(help="The store of the first date.")],
    after: Annotated[Path, typer.Argument(help="The store of the second date.")],
    out: OutOption,
    centre: Annotated[str, typer.Option(help="Mean to subtract: of each date, the common one, or none.")] = "each",
    mask: Annotated[Path | None, typer.Option(help="Write change or none by Otsu's threshold.")] = None,
    changed: Annotated[Path | None, typer.Option(help="Label raster: not 0 where there is change.")] = None,
    unchanged: Annotated[Path | None, typer.Option(help="Label raster: not 0 where there is none.")] = None,
    json_: JsonOption = None,
) -> None:
    """Map the change between two dates as the cosine distance of their embeddings.

    Example: ecotone index change 2000.parquet 2003.parquet --out change.tif --mask mask.tif

    Example: ecotone index change 2000.parquet 2003.parquet --out change.tif --changed yes.tif --unchanged no.tif
    """
    from typing import get_args

    from ecotone import embeddings
    from ecotone.embeddings.change import Centre
    from ecotone.errors import RecipeError

    if centre not in get_args(Centre):
        raise RecipeError("unknown --centre", found=centre, expected=", ".join(get_args(Centre)))
    if unchanged and not changed:
        raise RecipeError("--unchanged alone scores nothing", mend="Give --changed too.")
    stores = [embeddings.open_store(path) for path in (before, after)]
    with console.status("Comparing the dates"):
        found = embeddings.write_change(*stores, out, centre=centre, mask=mask)  # type: ignore[arg-type]
        if changed and len(found) > 1:
            raise RecipeError("labels score one pair of sources", found=f"{len(found)} pairs")
        scores = embeddings.score_change(found[0], changed, unchanged) if changed else []
    for one in found:
        console.print(_sentence(one), highlight=False, soft_wrap=True)
    if scores:
        console.print(_scores(scores))
    write_json(json_, {"centre": centre, "pairs": [_facts(c) for c in found], "scores": [vars(s) for s in scores]})


def _sentence(one: Change) -> str:
    cells = f"{one.pair.shape[0]} x {one.pair.shape[1]} cells"
    if one.threshold != one.threshold:
        return f"{one.files['change']}: {cells}, no difference anywhere"
    return f"{one.files['change']}: {cells}, {one.changed:.1%} beyond Otsu's threshold of {one.threshold:.3g}"


def _facts(one: Change) -> dict[str, Any]:
    known = one.threshold == one.threshold
    return {
        "before": one.pair.before.raster.uri,
        "after": one.pair.after.raster.uri,
        "shape": one.pair.shape,
        "threshold": one.threshold if known else None,
        "changed": one.changed if known else None,
        "files": one.files,
    }


def _scores(scores: list[ChangeScore]) -> Table:
    first = scores[0]
    table = Table(
        "measure", "AUC", "average precision", title=f"{first.changed} changed, {first.unchanged} unchanged pixels"
    )
    for s in scores:
        table.add_row(f"{s.name}{' (floor)' if s.floor else ''}", f"{s.auc:.3f}", f"{s.average_precision:.3f}")
    return table
