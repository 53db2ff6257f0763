"""A geometry report as one self-contained HTML page: no request leaves it."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from ecotone.embeddings.geometry.charts import histogram_chart, spectrum_chart
from ecotone.embeddings.geometry.figures import Figure
from ecotone.embeddings.geometry.report import GeometryReport
from ecotone.evaluation.page import page_environment
from ecotone.files import replacing


def write_geometry_page(report: GeometryReport, path: str | Path) -> None:
    """Write the page, in the style of an evaluation's.

    Raises:
        DataError: The file cannot be written.
    """
    template = page_environment("ecotone.embeddings.geometry").get_template("geometry.html.jinja")
    html = template.render(
        report=report,
        sentences=reading(report),
        rows=[(f, *(number(v) for v in (f.value, f.twin, f.random)), interval(f)) for f in report.figures],
        charts=_charts(report),
    )
    with replacing(Path(path)) as temporary:
        temporary.write_text(html, "utf-8")


def reading(report: GeometryReport) -> list[str]:
    """What the main figures say, in sentences."""
    d = report.dimension
    found = [
        f"The variance spreads as over {_said(report, 'participation_ratio')} of {d} directions; "
        f"{_said(report, 'components_90')} of them hold 90 % of it.",
        f"Neighbours lie as on {_said(report, 'mle_dimension')} dimensions (TwoNN: {_said(report, 'two_nn')}).",
        f"Two vectors have a mean cosine of {_said(report, 'anisotropy')}, after centring "
        f"{_said(report, 'anisotropy_centred')}.",
        f"Of {report.k} neighbours, {_share(report['spatial_recall'])} are among the nearest {report.k} on the ground.",
    ]
    if report["duplicate_rate"]:
        found.append(f"{_share(report['duplicate_rate'])} of all rows are exact copies of another row.")
    return found


def number(value: float | None) -> str:
    """A value in the space of a table cell; empty for None."""
    return "" if value is None else f"{value:.3g}".replace("-", "−")


def interval(figure: Figure) -> str:
    """The 95 % interval in the space of a table cell; empty without one."""
    return "" if figure.ci95 is None else " to ".join(number(v) for v in figure.ci95)


def _said(report: GeometryReport, name: str) -> str:
    return number(report[name]) or "no defined value"


def _share(value: float | None) -> str:
    return "no defined share" if value is None else f"{100 * value:.3g} %"


def _charts(report: GeometryReport) -> list[tuple[str, str, Markup]]:
    own, twin = report.measures, report.twin
    local, of_twin = (1 / m.inverse_dimension[m.inverse_dimension > 0] for m in (own, twin))
    drawn = [
        (
            "Spectrum",
            "Share of the variance along each principal direction.",
            spectrum_chart(own.variances, "Spectrum of the covariance"),
        ),
        (
            "k-occurrence",
            f"Among the {report.k} neighbours of how many other rows a row is.",
            histogram_chart(
                own.occurrence.astype(float), twin.occurrence.astype(float), "k-occurrence", "k-occurrence", whole=True
            ),
        ),
    ]
    if len(local):
        chart = histogram_chart(local, of_twin, "Local dimension of the rows", "local dimension")
        drawn.insert(1, ("Local dimension", "By maximum likelihood at each row.", chart))
    return [(title, note, Markup(svg)) for title, note, svg in drawn]
