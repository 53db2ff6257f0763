"""``ecotone finetune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ecotone.cli.output import JsonOption, console, write_json

if TYPE_CHECKING:
    from ecotone.training.finetuning import FineTuned


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("finetune")(finetune)


def finetune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Run or model folder, or released weights by name.")],
    data: Annotated[Path, typer.Option("--data", help="Dataset folder with labels, and splits train and val.")],
    out: Annotated[Path, typer.Option("--out", help="Run folder; a run found there is resumed.")],
    mode: Annotated[str | None, typer.Option(help="full, frozen (a linear head) or lora.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the training samples.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in one step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate of the head and the last layer.")] = None,
    labels: Annotated[float | None, typer.Option(help="Share of the training samples, alike in every class.")] = None,
    seed: Annotated[int | None, typer.Option(help="Fixes labels, new weights, order and augmentation.")] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Random weights: the floor.")] = False,
    size: Annotated[int | None, typer.Option(help="Side in pixels that images are resized to.")] = None,
    gsd: Annotated[float | None, typer.Option(help="Metres per pixel, where the data do not say.")] = None,
    sensor: Annotated[str | None, typer.Option(help="Sensor of the images, where the data do not say.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other setting.")] = None,
    test: Annotated[bool, typer.Option("--test", help="When all is chosen, score the test split, once.")] = False,
    json_: JsonOption = None,
) -> None:
    """Train an encoder with a head on labelled images; the best state on val becomes a predictor.

    Example: ecotone finetune runs/eurosat --data data/eurosat_rgb --out runs/eurosat-classes --test

    Example: ecotone finetune runs/eurosat --data data/eurosat_rgb --out runs/few --mode frozen --labels 0.1
    """
    from ecotone.training.finetuning import finetune as run
    from ecotone.training.finetuning import parse_settings

    options: dict[str, Any] = {
        "mode": mode,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "labels": labels,
        "seed": seed,
        "from_scratch": from_scratch or None,
        "size": size,
        "gsd": gsd,
        "sensor": sensor,
    }
    given = {"model": model, "data": str(data), **{k: v for k, v in options.items() if v is not None}}
    settings = parse_settings(given, set_)
    if test:
        from ecotone.evaluation.finetuned import need_test_split, score_test

        need_test_split(data, sensor)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[figures]}"), console=console) as progress:
        bars = _Bars(progress)
        done = run(settings, out, bars.row, bars.show)
        summary = done.to_dict()
        if test:
            summary["test"] = score_test(out, settings.data, gsd=gsd, sensor=sensor, on_progress=bars.show)
    _print(done, summary, from_scratch)
    write_json(json_, summary)


class _Bars:
    """One bar for each thing that is being done."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._tasks = progress, {}
        self._figures: dict[str, str] = {}

    def show(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total, figures="")
        self._progress.update(self._tasks[what], completed=done)

    def row(self, row: dict[str, Any]) -> None:
        """A row of the log: a step, or the figures on val."""
        if "loss/total" in row:
            self._figures["step"] = f"loss {row['loss/total']:.3f}  {row['images_per_s']:.0f} img/s"
        else:
            name, value = next((k, v) for k, v in row.items() if k.startswith("val/"))
            self._figures["val"] = f"{name.replace('/', ' ')} {value:.1%}"
        self.show("training", row["images"], row["budget"])
        self._progress.update(self._tasks["training"], figures="  ".join(self._figures.values()))


def _print(done: FineTuned, summary: dict[str, Any], from_scratch: bool) -> None:
    start = "random weights" if from_scratch else "linear head on the frozen encoder"
    console.print(f"Val: {_line(done.start)} ({start})", soft_wrap=True)
    if done.start is not done.val:
        console.print(f"Val: [bold]{_line(done.val)}[/] (the best state, after {done.images} images)", soft_wrap=True)
    if done.absent:
        console.print(f"[yellow]Warning:[/] classes absent from train, so never predicted: {', '.join(done.absent)}")
    for name, score in summary.get("test", {}).get("scores", {}).items():
        low, high = score["ci95"]
        console.print(f"Test: {name} [bold]{score['value']:.4f}[/] with 95 % interval {low:.4f} to {high:.4f}")
    console.print(f"Predictor in [bold]{done.run.folder / 'model'}[/]", soft_wrap=True)


def _line(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items() if name != "loss")
