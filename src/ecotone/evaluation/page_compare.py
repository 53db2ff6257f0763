"""What the page shows of models beside each other: pairs, budgets, plots of score against cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ecotone.evaluation.efficiency import Point, cost_plot
from ecotone.evaluation.protocols import PROTOCOLS
from ecotone.evaluation.tables_compare import BUDGET_HEAD, PAIR_HEAD, budget_row, pair_row
from ecotone.evaluation.wording import Wording
from ecotone.metrics import METRICS

if TYPE_CHECKING:
    from ecotone.evaluation.report import Report

COSTS = {"parameters": "parameters", "gflop": "GFLOP per image"}


def comparison(report: Report, words: Mapping[str, Wording]) -> dict[str, Any]:
    """The variables of ``page_compare.html.jinja``.

    Args:
        report: The evaluation.
        words: Protocol -> wording of its main metric.
    """
    return {
        "pair_head": PAIR_HEAD,
        "pair_rows": [pair_row(p, words) for p in report.pairs],
        "budget_head": BUDGET_HEAD,
        "budget_rows": [budget_row(m) for m in report.models],
        "cost_plots": _plots(report, words) if len(report.models) > 1 else [],
    }


def _plots(report: Report, words: Mapping[str, Wording]) -> list[tuple[str, Markup]]:
    """Score against parameters and against FLOPs, for each protocol at the largest scale, where costs differ."""
    found = []
    for protocol, w in words.items():
        scores = [(m.budget, m.name, s) for m in report.models for s in m.scores if s.protocol == protocol]
        floors = [s.best_floor_value for _, _, s in scores if s.best_floor_value is not None]
        best = max(floors, key=METRICS[w.metric.name].gain, default=None)
        for cost, axis in COSTS.items():
            points = [Point(name, getattr(b, cost), s.value, *s.ci95) for b, name, s in scores if getattr(b, cost) > 0]
            if len({p.cost for p in points}) > 1:
                title = f"{PROTOCOLS[protocol].title}: {w.caption} by {axis}"
                found.append((title, Markup(cost_plot(points, title, axis, percent=w.metric.percent, floor=best))))
    return found
