"""``ecotone pretrain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ecotone.cli.output import JsonOption, console, write_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("pretrain")(pretrain)


def pretrain(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML).")],
    out: Annotated[Path, typer.Option("--out", help="Run folder; a run found there is resumed.")],
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe key.")] = None,
    json_: JsonOption = None,
) -> None:
    """Pretrain an encoder as a recipe says; stopped runs go on where they were.

    Example: ecotone pretrain recipes/eurosat-laptop.yaml --out runs/eurosat --set stage.images=50000

    A recipe with stages trains them one after another, each from the weights of the one before.

    Several processes: torchrun --standalone --nproc-per-node 2 -m ecotone pretrain RECIPE --out RUN
    """
    from ecotone.training import load_recipe, run_recipe

    loaded = load_recipe(recipe, set_)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[figures]}"), console=console) as progress:
        budgets = {s.name: s.stage.images for s in loaded.stages} or {loaded.name: loaded.stage.images}
        tasks = {name: progress.add_task(name, total=images, figures="") for name, images in budgets.items()}
        figures: dict[str, Any] = {}

        def show(row: dict[str, Any]) -> None:
            figures.update(row)
            task = tasks[row.get("stage", loaded.name)]
            progress.update(task, completed=row["images"], figures=_figures(figures))
            if "feature_std" in row and not progress.console.is_terminal:
                console.print(f"{row['images']} images: {_figures(figures)}")

        run = run_recipe(loaded, out, show)
    if run.leader:
        rows = run.rows()
        summary = {"run": str(out), "model": str(out / "model"), **_summary(rows)}
        write_json(json_, summary)
        console.print(f"Model in [bold]{out / 'model'}[/]. Next: ecotone evaluate {out} --data DIR")


def _figures(row: dict[str, Any]) -> str:
    parts = [f"loss {row['loss/total']:.3f}", f"{row['images_per_s']:.0f} img/s", f"wait {row['data_wait']:.0%}"]
    if "knn_val" in row:
        parts.append(f"kNN val {row['knn_val']:.1%}")
    if row.get("feature_std", 1.0) < 0.1:
        parts.append("embedding is collapsing")
    return "  ".join(parts)


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """First and last losses, mean speed, and the last monitor figures of a log."""
    steps = [r for r in rows if "loss/total" in r]
    watched = [r for r in rows if "feature_std" in r]
    speeds = sorted(r["images_per_s"] for r in steps)
    return {
        "images": steps[-1]["images"],
        "first_loss": steps[0]["loss/total"],
        "last_loss": steps[-1]["loss/total"],
        "median_images_per_s": speeds[len(speeds) // 2],
        "mean_data_wait": sum(r["data_wait"] for r in steps) / len(steps),
        "quarantined": steps[-1]["quarantined"],
        **({k: v for k, v in watched[-1].items() if k != "images"} if watched else {}),
    }
