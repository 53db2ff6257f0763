"""The curves of the label efficiency, for the page."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from ecotone.evaluation import charts
from ecotone.evaluation.audits.base import Finding, figure_tables
from ecotone.evaluation.contract import Contract
from ecotone.evaluation.verdict import TITLES
from ecotone.evaluation.wording import Wording


@dataclass(frozen=True)
class Shares:
    """The axis of the curves."""

    axis: str = "share of the train labels"

    def label(self, scale: float) -> str:
        """A share in per cent."""
        return f"{100 * scale:g} %"


def label_curves(contract: Contract, finding: Finding) -> dict[str, tuple[Markup, charts.Legend]]:
    """Protocol -> the main metric by share of the train labels, as SVG, and what its lines mean."""
    shares, found = finding.settings["shares"], {}
    for protocol, _, lines in figure_tables(finding.figures):
        words = Wording.main(contract, protocol)
        series = []
        for name, each in lines.items():
            points = [(share, f.value, *f.ci95) for share, f in zip(shares, each.values(), strict=True)]
            series.append(charts.Series(name, next(iter(each.values())).floor, points))
        title = f"{TITLES[protocol]}: {words.caption} by share of the train labels"
        curve = charts.scale_curve(series, title, Shares(), words.metric.percent)
        found[protocol] = Markup(curve), charts.legend(series)
    return found
