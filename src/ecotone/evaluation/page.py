"""One self-contained HTML page for a report: no request leaves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ecotone.evaluation import charts, views
from ecotone.evaluation.audits.base import figure_tables
from ecotone.evaluation.label_curves import label_curves
from ecotone.evaluation.maps import EmbeddingMap, embedding_map
from ecotone.evaluation.page_compare import comparison
from ecotone.evaluation.verdict import TITLES
from ecotone.evaluation.wording import Wording

if TYPE_CHECKING:
    from ecotone.evaluation.report import Report

ANSWERS = {
    "beats": "beats its floors",
    "level": "level with its best floor",
    "below": "below its best floor",
    "n too small": "n too small",
    "no floors": "no floors",
}


def render(report: Report) -> str:
    """The page as HTML text."""
    environment = page_environment()
    environment.globals |= {"views": views, "titles": TITLES, "answers": ANSWERS}
    context = _scores(report) | _details(report)
    context |= comparison(report, context["words"])
    return environment.get_template("page.html.jinja").render(report=report, **context)


def page_environment(package: str = "ecotone.evaluation") -> Environment:
    """The templates of a package, and those of this one, such as ``page.css``; what is put in is escaped."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(name, ".") for name in dict.fromkeys((package, "ecotone.evaluation"))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _scores(report: Report) -> dict[str, Any]:
    protocols = list(report.contract.metrics)
    encoders = dict.fromkeys(r.encoder for r in report.rows if not r.floor and "models" not in r.settings)
    lines = {p: views.score_lines(report, p) for p in protocols}
    return {
        "encoders": list(encoders),
        "floors": any(r.floor for r in report.rows),
        "words": {p: Wording.main(report.contract, p) for p in protocols},
        "scales": sorted({r.scale for r in report.rows}, reverse=True),
        "tables": lines,
        "others": views.other_scores(report),
        "curves": {p: _curve(report, p, lines[p]) for p in protocols},
        "legend": _legend(lines[protocols[0]]),
    }


def _details(report: Report) -> dict[str, Any]:
    behind, unit = report.details, report.contract.data.label_unit or ""
    confusions = [(c, views.class_names(report, len(c.counts))) for c in behind.confusions]
    return {
        "confusions": [(c, views.shares(c), names, views.swaps(c, names)) for c, names in confusions],
        "labels": {p: [c for c in behind.labels if c.protocol == p] for p in {c.protocol: 0 for c in behind.labels}},
        "residuals": [
            (
                r,
                Markup(charts.agreement(r.points, f"{TITLES[r.protocol]}: said over true values", unit)),
                Markup(charts.residual_chart(r.points, f"{TITLES[r.protocol]}: said minus true values", unit)),
            )
            for r in behind.residuals
        ],
        "mistakes": views.shown(report),
        "mapped": next(iter(report.embeddings)),
        "map": _map(report),
        "label_curves": {a.name: label_curves(report.contract, a) for a in report.audits if a.name == "labels"},
        "audit_tables": {a.name: figure_tables(a.figures) for a in report.audits},
        "settings": views.tree(report.contract.model_dump(mode="json")),
    }


def _series(lines: list[views.Line]) -> list[charts.Series]:
    return [charts.Series(line.name, line.floor, [(r.scale, r.value, *r.ci95) for r in line.rows]) for line in lines]


def _curve(report: Report, protocol: str, lines: list[views.Line]) -> Markup:
    words = Wording.main(report.contract, protocol)
    resize = report.contract.resize
    title = f"{TITLES[protocol]}: {words.caption} by {resize.axis}"
    return Markup(charts.scale_curve(_series(lines), title, resize, words.metric.percent))


def _legend(lines: list[views.Line]) -> list[tuple[str, Markup]]:
    series = _series(lines)
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


def _map(report: Report) -> EmbeddingMap | None:
    """The map of the first encoder's features."""
    features = next(iter(report.embeddings.values()))
    labels = features.labels
    known = report.classes
    if not labels.is_floating_point():
        known = views.class_names(report, int(labels.max()) + 1)
    return embedding_map(features, report.details.keys, known)
