"""Merged results as CSV, Markdown and one self-contained page."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ecotone.evaluation.comparison import Pair
from ecotone.evaluation.page import page_context, page_environment, render
from ecotone.evaluation.protocols import PROTOCOLS
from ecotone.evaluation.tables import cell, joined, score_cell
from ecotone.evaluation.tables_compare import BUDGET_HEAD, PAIR_HEAD, budget_row, markdown_table, pair_row
from ecotone.evaluation.wording import Wording

if TYPE_CHECKING:
    from ecotone.evaluation.merge import Merged, MergedRow

COLUMNS = ("encoder", "floor", "dataset", "protocol", "scale", "scale_protocol", "metric", "value", "low", "high")
COLUMNS += ("n_train", "n_test", "seed_values", "mark", "contract")
ORIGIN = (
    "Merged from folders of results, without an image being read. They keep no audits, warnings, pictures and "
    "features: the report of each evaluation has these."
)


@dataclass(frozen=True)
class SectionLine:
    """One contestant of one contract, by scale; None where it has no score."""

    name: str
    floor: bool
    mark: str
    rows: list[MergedRow | None]


@dataclass(frozen=True)
class Section:
    """One table of scores: main metric of one protocol on one dataset.

    Attributes:
        title: Dataset, protocol and metric.
        words: Puts its values into words.
        labels: Names of the scales, the columns.
        lines: Encoders first.
    """

    title: str
    words: Wording
    labels: tuple[str, ...]
    lines: list[SectionLine]

    @property
    def head(self) -> tuple[str, ...]:
        """Column titles of the table as text."""
        return "encoder or floor", "contract", *self.labels

    def cells(self) -> list[tuple[str, ...]]:
        """The table as text."""
        return [(s.name, s.mark, *(score_cell(self.words, r) if r else "" for r in s.rows)) for s in self.lines]


def csv_text(merged: Merged) -> str:
    """One line for each score of each metric, with the mark and hash of its contract."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for r in merged.rows:
        head = (r.encoder, "true" if r.floor else "false", r.dataset, r.protocol, r.scale, r.scale_protocol, r.metric)
        tail = (r.n_train, r.n_test, joined(r.seed_values), r.mark, r.contract)
        writer.writerow((*head, r.value, *r.ci95, *tail))
    return file.getvalue()


def sections(merged: Merged) -> list[Section]:
    """Tables of the main metrics, encoders first."""
    groups: dict[tuple[str, str, str], list[MergedRow]] = {}
    for r in merged.rows:
        if r.metric == merged.contracts[r.mark].metrics[r.protocol][0]:
            groups.setdefault((r.dataset, r.protocol, r.metric), []).append(r)
    return [_section(merged, dataset, protocol, rows) for (dataset, protocol, _), rows in groups.items()]


def notes(merged: Merged) -> list[str]:
    """What a reader should know of the contracts."""
    if len(merged.contracts) == 1:
        return []
    marks = ", ".join(f"{mark} is {c.hash[:12]}" for mark, c in merged.contracts.items())
    lines = [f"Mixed: these scores have {len(merged.contracts)} contracts and do not compare as they stand. {marks}."]
    for name, values in merged.differing.items():
        said = "; ".join(f"{mark}: {value}" for mark, value in zip(merged.contracts, values, strict=True))
        lines.append(f"They differ in {name}: {said if len(said) <= 200 else 'see the settings'}.")
    return lines


def markdown_text(merged: Merged) -> str:
    """The tables as Markdown."""
    parts = ["# Merged results"]
    parts += ["\n".join(f"- {cell(note)}" for note in notes(merged))] if notes(merged) else []
    for s in sections(merged):
        rows = [
            (f"*{cell(name)}*" if line.floor else cell(name), *map(cell, rest))
            for line, (name, *rest) in zip(s.lines, s.cells(), strict=True)
        ]
        parts += [f"## {cell(s.title)}", markdown_table(s.head, rows)]
    if merged.pairs:
        rows = [tuple(cell(c) for c in row) for row in pair_rows(merged)]
        parts += ["## Models against each other", markdown_table(PAIR_HEAD, rows)]
    if merged.models:
        rows = [tuple(cell(c) for c in budget_row(m)) for m in merged.models]
        parts += ["## What the models cost", markdown_table(BUDGET_HEAD, rows)]
    hashes = ", ".join(f"{mark} `{c.hash}`" for mark, c in merged.contracts.items())
    parts.append(f"Floors are in italics; 95 % intervals in brackets. Contract {hashes}.")
    return "\n\n".join(parts) + "\n"


def pair_rows(merged: Merged) -> list[tuple[str, ...]]:
    """Pairs of models as text."""
    return [pair_row(p, {p.protocol: _words(merged, p)}) for p in merged.pairs]


def html_text(merged: Merged) -> str:
    """The page as HTML text: that of one evaluation, or of several contracts side by side."""
    if len(merged.reports) == 1:
        [report] = merged.reports.values()
        return render(report, ORIGIN)
    parts = [page_context(report, mark) for mark, report in merged.reports.items()]
    own = {"pair_head": PAIR_HEAD, "pair_rows": pair_rows(merged)}
    own |= {"budget_head": BUDGET_HEAD, "budget_rows": [budget_row(m) for m in merged.models]}
    template = page_environment().get_template("page_merged.html.jinja")
    return template.render(
        merged=merged, notes=notes(merged), sections=sections(merged), parts=parts, compared=own, origin=ORIGIN
    )


def _words(merged: Merged, pair: Pair) -> Wording:
    contract = next(c for c in merged.contracts.values() if c.metrics.get(pair.protocol, ("",))[0] == pair.metric)
    return Wording.main(contract, pair.protocol)


def _section(merged: Merged, dataset: str, protocol: str, rows: list[MergedRow]) -> Section:
    words = Wording.main(merged.contracts[rows[0].mark], protocol)
    scales = sorted({r.scale for r in rows}, reverse=True)
    lines = []
    for floor, name in sorted({(r.floor, r.encoder): None for r in rows}, key=lambda pair: pair[0]):
        found = {r.scale: r for r in rows if r.encoder == name}
        mark = next(iter(found.values())).mark
        lines.append(SectionLine(name, floor, mark, [found.get(s) for s in scales]))
    title = f"{dataset}, {PROTOCOLS[protocol].title}: {words.caption}"
    return Section(title, words, tuple(f"{100 * s:g} %" for s in scales), lines)
