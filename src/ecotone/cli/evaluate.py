"""``ecotone evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ecotone.cli.audit_tables import print_audits
from ecotone.cli.embed import warnings_printed
from ecotone.cli.output import JsonOption, console, write_json
from ecotone.errors import RecipeError

if TYPE_CHECKING:
    from ecotone.encoders import Readout
    from ecotone.evaluation import Report


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("evaluate")(evaluate)


def evaluate(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Run or model folders; with --merge, result folders.")
    ],
    data: Annotated[Path | None, typer.Option("--data", help="Dataset folder with train, val and test.")] = None,
    protocol: Annotated[str, typer.Option(help="knn, knn-grid, linear, retrieval.")] = "knn,linear",
    scales: Annotated[str, typer.Option(help="Relative scales in (0, 1].")] = "1,0.5,0.25,0.125",
    gsds: Annotated[str, typer.Option(help="Metres per pixel instead of relative scales, such as 10,20,40.")] = "",
    scale_protocol: Annotated[str, typer.Option(help="native, test-native or test-resized.")] = "test-resized",
    gsd_policy: Annotated[
        str, typer.Option(help="The GSD that encoders are told: pitch, fixed, fixed:METRES or shuffled.")
    ] = "pitch",
    floors: Annotated[bool, typer.Option("--floors/--no-floors", help="Score the floors as well.")] = True,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds over which the random floors are averaged.")] = 1,
    gsd: Annotated[float | None, typer.Option(help="Metres per pixel, where the data do not say.")] = None,
    sensor: Annotated[str | None, typer.Option(help="Sensor of the images, where the data do not say.")] = None,
    pooling: Annotated[
        str | None, typer.Option(help="class, mean or mean-std, instead of the model's own readout.")
    ] = None,
    layers: Annotated[str | None, typer.Option(help="Layers to read out, such as 1,3,5; -1 is the last.")] = None,
    standardise: Annotated[
        bool, typer.Option("--standardise/--no-standardise", help="Divide features by their spread over train.")
    ] = True,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in one forward pass.")] = 64,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the contract and every score, and go on after a stop.")
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Judge every model, and against each other.")] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="Join result folders into one table; no image is read.")
    ] = False,
    mixed: Annotated[bool, typer.Option("--mixed", help="Let several contracts stand in one table, marked.")] = False,
    report: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write one self-contained page.")] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Write one line for each score.")] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE.md", help="Write verdicts and tables.")] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where features are kept for the next time; default: the cache.")
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Compute all features anew and keep none.")] = False,
    audit: Annotated[
        str, typer.Option(help="duplicates, leakage, normalisers, heads, labels; or none.")
    ] = "duplicates",
    json_: JsonOption = None,
) -> None:
    """Measure encoders on a labelled dataset, beside the floors that no pretraining reaches.

    Example: ecotone evaluate runs/eurosat --data data/eurosat_rgb --report report.html

    Example: ecotone evaluate mae scale-mae --compare --data data/eurosat_rgb --out results/eurosat

    Example: ecotone evaluate --merge results/a results/b --report page.html

    Example: ecotone evaluate run-1 run-2 run-3 --data data/eurosat_rgb --scales 1,0.5 --json scores.json
    """
    from ecotone.evaluation import evaluate as run
    from ecotone.files import cache_folder

    if merge:
        _merge(models, mixed, json_, {csv: "csv", markdown: "markdown", report: "html"})
        return
    if data is None or mixed:
        raise RecipeError("an evaluation needs --data, and --mixed belongs to --merge")
    if cache is not None and no_cache:
        raise RecipeError("--cache and --no-cache exclude each other")
    numbers, metres = _numbers(scales, "--scales"), _numbers(gsds, "--gsds")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with warnings_printed(), Progress(*columns, console=console) as progress:
        tasks = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        result = run(
            models,
            data,
            protocols=[p.strip() for p in protocol.split(",") if p.strip()],
            scales=numbers,
            gsds=metres,
            scale_protocol=scale_protocol,
            gsd_policy=gsd_policy,
            gsd=gsd,
            sensor=sensor,
            seeds=seeds,
            floors=floors,
            readout=_readout(pooling, layers),
            standardise=standardise,
            batch_size=batch_size,
            cache=None if no_cache else cache or cache_folder("features"),
            audits=() if audit == "none" else [a.strip() for a in audit.split(",") if a.strip()],
            out=out,
            compare=compare,
            on_progress=show,
        )
    _print(result)
    write_json(json_, result.to_dict())
    for path, save in ((csv, result.save_csv), (markdown, result.save_markdown), (report, result.save_html)):
        if path is not None:
            for file in save(path) or [path]:
                console.print(f"Written: {file}", soft_wrap=True)


def _merge(folders: list[str], mixed: bool, json_: str | None, files: dict[Path | None, str]) -> None:
    """Join result folders, print their tables and write the files asked for."""
    from ecotone.evaluation import merge as join
    from ecotone.evaluation.merged_tables import notes, pair_rows, sections
    from ecotone.evaluation.tables_compare import PAIR_HEAD

    merged = join(folders, mixed=mixed)
    shown = [(s.title, s.head, s.cells()) for s in sections(merged)]
    for title, head, rows in [*shown, ("Models against each other", PAIR_HEAD, pair_rows(merged))]:
        if rows:
            console.print(_table(title, head, rows))
    for note in notes(merged):
        console.print(note, style="yellow", markup=False)
    write_json(json_, merged.to_dict())
    for path, kind in files.items():
        if path is not None:
            getattr(merged, f"save_{kind}")(path)
            console.print(f"Written: {path}", soft_wrap=True)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=escape(title), title_justify="left")
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def _readout(pooling: str | None, layers: str | None) -> Readout | None:
    """The readout asked for; None when nothing is asked."""
    from pydantic import ValidationError

    from ecotone.encoders import Readout

    if pooling is None and layers is None:
        return None
    try:
        asked: dict[str, Any] = {"pooling": pooling} if pooling else {}
        asked |= {"layers": tuple(int(i) for i in layers.split(","))} if layers else {}
        return Readout(**asked)
    except (ValidationError, ValueError) as error:
        raise RecipeError(
            "the readout cannot be read",
            found=f"--pooling {pooling}, --layers {layers}",
            expected="--pooling class, mean or mean-std; --layers as whole numbers, such as 1,3,5",
        ) from error


def _numbers(text: str, option: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise RecipeError(f"{option} is not a list of numbers", found=text, expected="1,0.5,0.25") from error


def _print(report: Report) -> None:
    """One table for each protocol, encoders first; then the verdict."""
    from ecotone.evaluation.tables import score_cell
    from ecotone.evaluation.verdict import TITLES
    from ecotone.evaluation.wording import Wording

    scales = sorted({r.scale for r in report.rows}, reverse=True)
    for protocol in dict.fromkeys(r.protocol for r in report.rows):
        words = Wording.main(report.contract, protocol)
        table = Table(title=f"{TITLES[protocol]}: {words.caption}, with 95 % interval", title_justify="left")
        table.add_column("encoder or floor", overflow="fold")
        for scale in scales:
            table.add_column(report.contract.resize.label(scale), justify="right")
        rows = [r for r in report.rows if r.protocol == protocol]
        for floor, name in sorted({(r.floor, r.encoder): None for r in rows}, key=lambda pair: pair[0]):
            cells = {r.scale: r for r in rows if r.encoder == name}
            style = "dim" if floor else "bold"
            table.add_row(name, *(score_cell(words, cells[s]) for s in scales), style=style)
        console.print(table)
    print_audits(report)
    if report.pairs:
        _print_comparison(report)
    for skipped in report.skipped:
        console.print(f"Not scored: {skipped.reason}.")
    for warning in report.warnings:
        console.print(f"[yellow]Warning:[/] {warning}")
    for verdict in report.verdicts:
        console.print(verdict.text, style="bold", markup=False)
    for caveat in report.caveats:
        console.print(caveat, style="yellow", markup=False)
    console.print(f"Contract {report.contract.hash}", soft_wrap=True)


def _print_comparison(report: Report) -> None:
    """Pairs of models, then what each costs."""
    from ecotone.evaluation.tables_compare import BUDGET_HEAD, PAIR_HEAD, budget_row, pair_row
    from ecotone.evaluation.wording import Wording

    words = {p: Wording.main(report.contract, p) for p in report.contract.metrics}
    for title, head, rows in (
        ("Models against each other", PAIR_HEAD, [pair_row(p, words) for p in report.pairs]),
        ("What the models cost", BUDGET_HEAD, [budget_row(m) for m in report.models]),
    ):
        console.print(_table(title, head, rows))
