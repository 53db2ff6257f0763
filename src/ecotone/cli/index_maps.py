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
    app.command("novelty")(novelty)
    app.command("units")(units)


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


def novelty(
    store: StoreArgument,
    out: OutOption,
    reference: Annotated[Path | None, typer.Option(help="A store of what is known; default: the store itself.")] = None,
    k: Annotated[int, typer.Option("-k", "--k", help="How many of the nearest references.")] = 10,
    apart: Annotated[
        int | None, typer.Option(help="Cells so near are no references; default: those that overlap.")
    ] = None,
    sample: Annotated[int, typer.Option(help="References drawn at most.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Draws the references.")] = 0,
    json_: JsonOption = None,
) -> None:
    """Map how far each place lies from whatever resembles it most.

    Example: ecotone index novelty 2003.parquet --reference 2000.parquet --out novelty.tif

    Example: ecotone index novelty scene.parquet --out novelty.tif --apart 8
    """
    import numpy as np

    from ecotone import embeddings

    known = embeddings.open_store(reference) if reference else None
    with console.status("Comparing with references"):
        found = embeddings.write_novelty(
            embeddings.open_store(store), out, reference=known, k=k, apart=apart, sample=sample, seed=seed
        )
    figures = []
    for one in found:
        values = one.values[np.isfinite(one.values)]
        middle, high = np.percentile(values, (50, 99)) if len(values) else (None, None)
        figures.append(
            {"source": one.part.facts.uri, "file": one.file, "cells": len(values), "p50": middle, "p99": high}
        )
        text = "no cell has enough references" if middle is None else f"median {middle:.3g}, 99th percentile {high:.3g}"
        console.print(f"{one.file}: {text}", highlight=False, soft_wrap=True)
    write_json(json_, {"k": k, "maps": figures})


def units(
    store: StoreArgument,
    out: OutOption,
    k: Annotated[str, typer.Option("-k", "--k", help="How many units, or auto: by silhouette.")] = "8",
    seed: Annotated[int, typer.Option(help="Of the clusters.")] = 0,
    json_: JsonOption = None,
) -> None:
    """Map land units: places whose embeddings cluster together.

    Example: ecotone index units scene.parquet --k auto --out units.tif
    """
    from ecotone import embeddings
    from ecotone.errors import RecipeError

    if k != "auto" and not k.isdecimal():
        raise RecipeError("--k is a number or auto", found=k)
    with console.status("Clustering"):
        found = embeddings.write_units(embeddings.open_store(store), out, k=None if k == "auto" else int(k), seed=seed)
    table = Table("unit", "share", title=f"{len(found.names)} units, silhouette {found.silhouette:.3f}")
    for name, share in zip(found.names, found.shares, strict=True):
        table.add_row(name, f"{share:.1%}")
    console.print(table)
    shares = dict(zip(found.names, found.shares.tolist(), strict=True))
    write_json(json_, {"units": shares, "silhouette": found.silhouette, "tried": found.tried, "files": found.files})


def _sentence(one: Change) -> str:
    cells = f"{one.pair.shape[0]} x {one.pair.shape[1]} cells"
    if one.threshold != one.threshold:
        return f"{one.files['change']}: {cells}, no difference anywhere"
    return f"{one.files['change']}: {cells}, {one.changed:.1%} beyond Otsu's threshold of {one.threshold:.3g}"


def _facts(one: Change) -> dict[str, Any]:
    known = one.threshold == one.threshold
    return {
        "before": one.pair.before.facts.uri,
        "after": one.pair.after.facts.uri,
        "shape": one.pair.shape,
        "threshold": one.threshold if known else None,
        "changed": one.changed if known else None,
        "files": one.files,
    }


def _scores(scores: list[ChangeScore]) -> Table:
    first = scores[0]
    title = f"{first.changed} changed, {first.unchanged} unchanged pixels"
    table = Table("measure", "AUC", "95 % interval", "average precision", title=title)
    for s in scores:
        interval = "not defined" if s.auc_ci95 is None else "{:.3f} to {:.3f}".format(*s.auc_ci95)
        name = f"{s.name}{' (floor)' if s.floor else ''}"
        table.add_row(name, f"{s.auc:.3f}", interval, f"{s.average_precision:.3f}")
    return table
