"""One table over datasets and scales from one recipe, such as that of Scale-MAE."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ecotone.encoders import Encoder, Readout
from ecotone.encoders.base import Pooling
from ecotone.errors import DataError, RecipeError
from ecotone.evaluation.evaluate import evaluate
from ecotone.evaluation.report import Report
from ecotone.evaluation.wording import Wording
from ecotone.metrics import METRICS


class TableRecipe(BaseModel):
    """What a table holds.

    Attributes:
        name: Its title.
        protocol: As for ``evaluate``.
        scales: Its columns, relative.
        scale_protocol: As for ``evaluate``.
        pooling: The readout of every encoder; its own if absent.
        standardise: Features are standardised by train.
        datasets: Row -> names of its folder; the first that exists is taken.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    protocol: str
    scales: tuple[float, ...]
    scale_protocol: str
    pooling: Pooling | None = None
    standardise: bool = True
    datasets: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class TableRow:
    """An encoder, or its best floor, on one dataset.

    Attributes:
        dataset: Name in the recipe.
        encoder: Encoder or floor.
        floor: It is the floor of the best mean.
        metric: What the values are.
        values: One for each scale of the recipe; None where it cannot be fed.
        mean: Over all scales; None where one of them is missing.
        contract: Hash of the contract of this dataset.
    """

    dataset: str
    encoder: str
    floor: bool
    metric: str
    values: list[float | None]
    mean: float | None
    contract: str


@dataclass(frozen=True)
class ScaleTable:
    """The table: rows by dataset, and the datasets that are not there."""

    recipe: TableRecipe
    rows: list[TableRow]
    missing: list[str]
    warnings: dict[str, list[str]]

    def to_dict(self) -> dict[str, Any]:
        """The content of the JSON file."""
        return {
            "table": self.recipe.model_dump(mode="json"),
            "rows": [asdict(r) for r in self.rows],
            "missing": self.missing,
            "warnings": self.warnings,
        }

    def lines(self) -> list[list[str]]:
        """Head and rows as text, for people."""
        found = [["dataset", "encoder or floor", *(f"{100 * s:g} %" for s in self.recipe.scales), "mean"]]
        for row in self.rows:
            name = f"{row.encoder} (best floor)" if row.floor else row.encoder
            found.append([row.dataset, name, *(_number(row.metric, v) for v in (*row.values, row.mean))])
        return found + [[name, "no such folder", *("" for _ in range(len(found[0]) - 2))] for name in self.missing]

    def csv_text(self) -> str:
        """One line for each row, with the hash of its contract."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("dataset", "encoder", "floor", "metric", *self.recipe.scales, "mean", "contract"))
        for r in self.rows:
            writer.writerow((r.dataset, r.encoder, str(r.floor).lower(), r.metric, *r.values, r.mean, r.contract))
        return file.getvalue()

    def markdown_text(self) -> str:
        """The table as Markdown."""
        head, *rows = self.lines()
        text = [head, ["---", "---", *("---:" for _ in head[2:])], *rows]
        cells = ["| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in text]
        return f"# {self.recipe.name}\n\n" + "\n".join(cells) + "\n"


def load_table(path: str | Path) -> TableRecipe:
    """Read the recipe of a table.

    Raises:
        RecipeError: It cannot be read, or a key or value is not allowed.
    """
    try:
        return TableRecipe.model_validate(yaml.safe_load(Path(path).read_text("utf-8")))
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}", found=error.strerror) from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise RecipeError(
            f"{path} is no recipe of a table: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from error


def scale_table(
    models: Sequence[str | Path | Encoder], recipe: TableRecipe, folder: str | Path, **options: Any
) -> ScaleTable:
    """Evaluate encoders on every dataset of the recipe that is there.

    Args:
        models: As for ``evaluate``.
        recipe: What to measure.
        folder: Holds the folders of the datasets.
        options: Others of ``evaluate``: ``seeds``, ``floors``, ``batch_size``, ``cache``, ``on_progress``.

    Raises:
        DataError: None of the datasets is there.
    """
    root = Path(folder)
    found = {
        name: next((root / f for f in folders if (root / f).is_dir()), None)
        for name, folders in recipe.datasets.items()
    }
    missing = [name for name, place in found.items() if place is None]
    if len(missing) == len(found):
        names = ", ".join(folders[0] for folders in recipe.datasets.values())
        raise DataError(f"{root} holds none of the datasets of {recipe.name}", expected=f"folders such as {names}")
    rows, warnings = [], {}
    for name, place in found.items():
        if place is not None:
            report = evaluate(
                models,
                place,
                protocols=[recipe.protocol],
                scales=recipe.scales,
                scale_protocol=recipe.scale_protocol,
                readout=None if recipe.pooling is None else Readout(pooling=recipe.pooling),
                standardise=recipe.standardise,
                **options,
            )
            rows += _rows(name, report, recipe)
            warnings[name] = [*report.caveats, *report.warnings]
    return ScaleTable(recipe, rows, missing, warnings)


def _rows(dataset: str, report: Report, recipe: TableRecipe) -> list[TableRow]:
    """Every encoder, and the floor of the best mean over the scales that were scored."""
    metric = report.contract.metrics[recipe.protocol][0]
    names = [m.encoder for m in report.means if not m.floor]
    floors = [m for m in report.means if m.floor]
    best = max(floors, key=lambda m: METRICS[metric].gain(m.value)).encoder if floors else None
    rows = []
    for name in (*names, best):
        if name is None:
            continue
        scored = {r.scale: r.value for r in report.rows if r.encoder == name}
        values = [scored.get(s) for s in recipe.scales]
        whole = [v for v in values if v is not None]
        mean = sum(whole) / len(whole) if len(whole) == len(values) else None
        rows.append(TableRow(dataset, name, name == best, metric, values, mean, report.contract.hash))
    return rows


def _number(metric: str, value: float | None) -> str:
    return "not fed" if value is None else Wording(METRICS[metric], "", "").number(value)
