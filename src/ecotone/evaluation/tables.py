"""A report as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ecotone.evaluation.tables_compare import BUDGET_HEAD, PAIR_HEAD, budget_row, markdown_table, pair_row
from ecotone.evaluation.verdict import TITLES
from ecotone.evaluation.wording import Wording

if TYPE_CHECKING:
    from ecotone.evaluation.merge import MergedRow
    from ecotone.evaluation.report import Report, Row

COLUMNS = ("encoder", "floor", "dataset", "protocol", "scale", "scale_protocol", "metric", "value", "low", "high")
COLUMNS += ("n_train", "n_test", "seed_values", "contract")


def csv_text(report: Report) -> str:
    """One line for each score of each metric, with the hash of its contract."""
    contract = report.contract
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for s in (*report.rows, *report.others):
        floor = "true" if s.floor else "false"
        head = (s.encoder, floor, contract.data.name, s.protocol, s.scale, contract.resize.scale_protocol)
        tail = (contract.data.n["train"], contract.data.n["test"], joined(s.seed_values), contract.hash)
        writer.writerow((*head, s.metric, s.value, *s.ci95, *tail))
    return file.getvalue()


def markdown_text(report: Report) -> str:
    """Verdicts, caveats and one table for each protocol, encoders first."""
    data, encoders = report.contract.data, dict.fromkeys(r.encoder for r in report.rows if not r.floor)
    parts = [f"# {cell(', '.join(encoders))} on {cell(data.name)}"]
    parts += [f"**{cell(v.answer)}.** {cell(v.text)}" for v in report.verdicts]
    notes = [*report.caveats, *report.warnings, *(f"Not scored: {s.reason}." for s in report.skipped)]
    parts += ["\n".join(f"- {cell(note)}" for note in notes)] if notes else []
    for protocol in report.contract.metrics:
        words = Wording.main(report.contract, protocol)
        parts += [f"## {TITLES[protocol]}: {words.caption}", _table(report, protocol, words)]
    parts += _compared(report)
    parts.append(f"Floors are in italics; 95 % intervals in brackets. Contract `{report.contract.hash}`.")
    return "\n\n".join(parts) + "\n"


def _table(report: Report, protocol: str, words: Wording) -> str:
    rows = [r for r in report.rows if r.protocol == protocol]
    scales = sorted({r.scale for r in rows}, reverse=True)
    lines = ["| encoder or floor | " + " | ".join(report.contract.resize.label(s) for s in scales) + " |"]
    lines.append("|---|" + "---:|" * len(scales))
    for floor, name in sorted({(r.floor, r.encoder): None for r in rows}, key=lambda pair: pair[0]):
        found = {r.scale: r for r in rows if r.encoder == name}
        cells = [score_cell(words, found[s]) for s in scales]
        lines.append(f"| {f'*{cell(name)}*' if floor else cell(name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _compared(report: Report) -> list[str]:
    """Pairs and budgets, where models are compared."""
    if not report.pairs:
        return []
    words = {p: Wording.main(report.contract, p) for p in report.contract.metrics}
    found = [[cell(c) for c in pair_row(p, words)] for p in report.pairs]
    costs = [[cell(c) for c in budget_row(m)] for m in report.models]
    parts = ["## Models against each other", markdown_table(PAIR_HEAD, found)]
    return [*parts, "## What the models cost", markdown_table(BUDGET_HEAD, costs)]


def joined(values: Sequence[float]) -> str:
    """Several numbers in one cell of a CSV file."""
    return "|".join(map(str, values))


def score_cell(words: Wording, row: Row | MergedRow) -> str:
    """A score with its interval, and from where to where its seeds go."""
    return f"{words.bracketed(row.value, row.ci95)} {words.spread(row.seed_values)}".rstrip()


def cell(text: str) -> str:
    """Text that neither ends a cell nor turns into markup."""
    for sign in "\\|*_`<[":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
