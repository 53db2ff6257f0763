"""The audits of an evaluation, printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from ecotone.cli.output import console

if TYPE_CHECKING:
    from ecotone.evaluation import Report
    from ecotone.evaluation.audits import Figure
    from ecotone.evaluation.wording import Wording


def print_audits(report: Report) -> None:
    """One table for each audit and protocol: encoders and floors by setting."""
    from ecotone.evaluation.audits.base import figure_tables
    from ecotone.evaluation.verdict import TITLES
    from ecotone.evaluation.wording import Wording

    for finding in report.audits:
        for protocol, settings, lines in figure_tables(finding.figures):
            words = Wording.main(report.contract, protocol)
            table = Table(title=f"{finding.title}, {TITLES[protocol]}: {words.caption}", title_justify="left")
            table.add_column("encoder or floor", overflow="fold")
            for setting in settings:
                table.add_column(setting, justify="right")
            for name, found in lines.items():
                style = "dim" if next(iter(found.values())).floor else "bold"
                table.add_row(name, *(_cell(words, found[s]) if s in found else "" for s in settings), style=style)
            console.print(table)


def _cell(words: Wording, figure: Figure) -> str:
    lines = [words.bracketed(figure.value, figure.ci95)]
    if figure.difference is not None and figure.difference_ci95 is not None:
        low, high = (words.signed(v) for v in figure.difference_ci95)
        lines.append(f"{words.signed(figure.difference)} [{low}, {high}]")
    if figure.detail:
        lines.append(figure.detail)
    return "\n".join(lines)
