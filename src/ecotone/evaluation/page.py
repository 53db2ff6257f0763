"""One self-contained HTML page for a report: no request leaves it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ecotone.evaluation import charts
from ecotone.evaluation.audits.base import figure_tables
from ecotone.evaluation.verdict import TITLES, Difference
from ecotone.evaluation.wording import Wording

if TYPE_CHECKING:
    from ecotone.evaluation.details import Confusion
    from ecotone.evaluation.report import Report, Row, ScaleMean, Score

ANSWERS = {
    "beats": "beats its floors",
    "level": "level with its best floor",
    "below": "below its best floor",
    "n too small": "n too small",
    "no floors": "no floors",
}


@dataclass(frozen=True)
class _Line:
    """One contestant of a score table, by scale."""

    name: str
    floor: bool
    rows: list[Row]
    mean: ScaleMean


@dataclass(frozen=True)
class _Map:
    """The embedding map of one encoder, with the colour of each class."""

    encoder: str
    picture: Markup
    legend: list[tuple[str, str]]


def render(report: Report) -> str:
    """The page as HTML text."""
    environment = Environment(
        loader=PackageLoader("ecotone.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = {p: Wording.main(report.contract, p) for p in report.contract.metrics}
    encoders = list(dict.fromkeys(r.encoder for r in report.rows if not r.floor))
    return environment.get_template("page.html.jinja").render(
        report=report,
        encoders=encoders,
        answers=ANSWERS,
        titles=TITLES,
        words=words,
        others=_others(report),
        tables={p: _lines(report, p) for p in dict.fromkeys(r.protocol for r in report.rows)},
        scales=sorted({r.scale for r in report.rows}, reverse=True),
        curves=_curves(report),
        differences=_differences(report),
        legend=_legend(report),
        confusions=[(c, _shares(c), _class_names(report, len(c.counts))) for c in report.details.confusions],
        map=_map(report),
        audit_tables={a.name: figure_tables(a.figures) for a in report.audits},
        contract=json.dumps(report.contract.model_dump(mode="json"), indent=2, ensure_ascii=False),
    )


def _lines(report: Report, protocol: str) -> list[_Line]:
    names = dict.fromkeys((r.encoder, r.floor) for r in report.rows if r.protocol == protocol)
    lines = []
    for name, floor in names:
        rows = [r for r in report.rows if (r.encoder, r.protocol) == (name, protocol)]
        mean = next(m for m in report.means if (m.encoder, m.protocol) == (name, protocol))
        lines.append(_Line(name, floor, sorted(rows, key=lambda r: -r.scale), mean))
    return sorted(lines, key=lambda line: line.floor)


def _differences(report: Report) -> list[Difference]:
    """By protocol and scale; a random init that is the best floor as well stands once."""
    best = {(d.encoder, d.protocol, d.scale): d.against for d in report.differences if d.role == "best floor"}
    once = [
        d for d in report.differences if d.role == "best floor" or best[d.encoder, d.protocol, d.scale] != d.against
    ]
    order = {name: i for i, name in enumerate(dict.fromkeys(d.encoder for d in once))}
    return sorted(once, key=lambda d: (d.protocol, order[d.encoder], -d.scale))


def _others(report: Report) -> dict[str, tuple[list[Wording], dict[str, list[Score]]]]:
    """Protocol -> the other metrics at the largest scale, and their scores by contestant, encoders first."""
    scale = max(r.scale for r in report.rows)
    found = {}
    for protocol, (_, *names) in report.contract.metrics.items():
        mine = [s for s in report.others if (s.protocol, s.scale) == (protocol, scale)]
        lines: dict[str, list[Score]] = {}
        for score in sorted(mine, key=lambda s: s.floor):
            lines.setdefault(score.encoder, []).append(score)
        found[protocol] = [Wording.of(report.contract, protocol, n) for n in names], lines
    return found


def _series(report: Report, protocol: str) -> list[charts.Series]:
    return [
        charts.Series(line.name, line.floor, [(r.scale, r.value, *r.ci95) for r in line.rows])
        for line in _lines(report, protocol)
    ]


def _curves(report: Report) -> dict[str, Markup]:
    found = {}
    for protocol in dict.fromkeys(r.protocol for r in report.rows):
        words = Wording.main(report.contract, protocol)
        title = f"{TITLES[protocol]}: {words.caption} by relative scale"
        found[protocol] = Markup(charts.scale_curve(_series(report, protocol), title, words.metric.percent))
    return found


def _legend(report: Report) -> list[tuple[str, Markup]]:
    series = _series(report, report.rows[0].protocol)
    return [
        (
            s.name,
            Markup(
                '<svg viewBox="0 0 34 10" width="34" height="10" aria-hidden="true">'
                f'<line x1="1" x2="33" y1="5" y2="5" {charts.line_style(series, i)}/></svg>'
            ),
        )
        for i, s in enumerate(series)
    ]


def _map(report: Report) -> _Map | None:
    """The map of the first encoder's features, coloured by class; nothing for too few samples or other labels."""
    name, features = next(iter(report.embeddings.items()))
    if len(features.labels) < 10 or report.contract.task != "classification":
        return None
    points, labels = charts.flatten(features.features, features.labels)
    classes = _class_names(report, int(labels.max()) + 1)
    legend = [(c, charts.class_colour(i, len(classes))) for i, c in enumerate(classes)]
    return _Map(name, Markup(charts.embedding_map(points, labels, classes)), legend)


def _shares(confusion: Confusion) -> list[list[float]]:
    """Each row of counts as shares of its class."""
    return [[n / max(1, sum(row)) for n in row] for row in confusion.counts]


def _class_names(report: Report, count: int) -> list[str]:
    return [*report.classes, *(f"class {i}" for i in range(len(report.classes), count))]
