"""One self-contained HTML page for a report: no request leaves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ecotone.evaluation import charts, views
from ecotone.evaluation.audits.base import figure_tables
from ecotone.evaluation.details import numbered
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


def render(report: Report, origin: str = "") -> str:
    """The page as HTML text.

    Args:
        report: What it shows.
        origin: A sentence below the title on where the scores come from, if it is not one evaluation.
    """
    return page_environment().get_template("page.html.jinja").render(origin=origin, **page_context(report))


def page_context(report: Report, mark: str = "") -> dict[str, Any]:
    """The variables of the parts of the page; the mark keeps the ids of several reports on one page apart."""
    context = {"report": report, "mark": mark} | _scores(report) | _details(report)
    return context | comparison(report, context["words"])


def page_environment(package: str = "ecotone.evaluation") -> Environment:
    """The templates of a package, and those of this one, such as ``page.css``; what is put in is escaped."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name, ".") for name in dict.fromkeys((package, "ecotone.evaluation"))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"views": views, "titles": TITLES, "answers": ANSWERS}
    return environment


def _scores(report: Report) -> dict[str, Any]:
    scored = {r.protocol for r in report.rows}
    protocols = [p for p in report.contract.metrics if p in scored]
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
        "legend": charts.legend(_series(lines[protocols[0]])),
    }


def _details(report: Report) -> dict[str, Any]:
    behind, unit = report.details, report.contract.data.label_unit or ""
    confusions = [(c, numbered(report.classes, len(c.counts))) for c in behind.confusions]
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
        "mapped": next(iter(report.embeddings), ""),
        "map": _map(report),
        "label_curves": {a.name: label_curves(report.contract, a) for a in report.audits if a.name == "labels"},
        "audit_tables": {a.name: figure_tables(a.figures) for a in report.audits},
        "settings": views.tree(report.contract.model_dump(mode="json")),
    }


def _series(lines: list[views.Line]) -> list[charts.Series]:
    return [
        charts.Series(line.name, line.floor, [(r.scale, r.value, *r.ci95) for r in line.rows if r]) for line in lines
    ]


def _curve(report: Report, protocol: str, lines: list[views.Line]) -> Markup:
    words = Wording.main(report.contract, protocol)
    resize = report.contract.resize
    title = f"{TITLES[protocol]}: {words.caption} by {resize.axis}"
    return Markup(charts.scale_curve(_series(lines), title, resize, words.metric.percent))


def _map(report: Report) -> EmbeddingMap | None:
    """The map of the first encoder's features, where there are any."""
    features = next(iter(report.embeddings.values()), None)
    if features is None:
        return None
    labels = features.labels
    known = report.classes
    if not labels.is_floating_point():
        known = numbered(report.classes, int(labels.max()) + 1)
    return embedding_map(features, report.details.keys, known)
