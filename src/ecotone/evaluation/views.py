"""What the tables of the page hold: a report arranged for the eye."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ecotone.evaluation.wording import Wording

if TYPE_CHECKING:
    from ecotone.evaluation.details import Confusion
    from ecotone.evaluation.mistakes import Mistake
    from ecotone.evaluation.report import Report, Row, ScaleMean, Score
    from ecotone.evaluation.verdict import Difference, Verdict

SWAPS = 6  # confusions that are put into words


@dataclass(frozen=True)
class Line:
    """One contestant of a score table, by scale; None where it has no score."""

    name: str
    floor: bool
    rows: list[Row | None]
    mean: ScaleMean | None


@dataclass(frozen=True)
class Bar:
    """A score at the largest scale on a common axis; positions in per cent of its length."""

    row: Row
    low: float
    at: float
    high: float


@dataclass(frozen=True)
class Gaps:
    """One encoder against its random init or its best floor, by scale."""

    encoder: str
    role: str
    cells: list[Difference | None]


@dataclass(frozen=True)
class Shown:
    """A mistake with its picture as a data address, and its size in words."""

    mistake: Mistake
    address: str
    size: str


Tree = list[tuple[str, "str | Tree"]]


def score_lines(report: Report, protocol: str) -> list[Line]:
    """Encoders first, then floors, each over its scales from large to small."""
    names = dict.fromkeys((r.encoder, r.floor) for r in report.rows if r.protocol == protocol)
    scales, lines = sorted({r.scale for r in report.rows}, reverse=True), []
    for name, floor in names:
        rows = {r.scale: r for r in report.rows if (r.encoder, r.protocol) == (name, protocol)}
        mean = next((m for m in report.means if (m.encoder, m.protocol) == (name, protocol)), None)
        lines.append(Line(name, floor, [rows.get(s) for s in scales], mean))
    return sorted(lines, key=lambda line: line.floor)


def headline(report: Report, verdict: Verdict) -> tuple[str, str] | None:
    """The difference to the best floor that a verdict rests on, and its interval; None without floors."""
    place = (verdict.encoder, verdict.protocol, verdict.scale, "best floor")
    found = [d for d in report.differences if (d.encoder, d.protocol, d.scale, d.role) == place]
    if not found:
        return None
    d, words = found[0], Wording.main(report.contract, verdict.protocol)
    low, high = (words.signed(v) for v in d.ci95)
    said = {
        "gain": f"{words.number(abs(d.value))} {words.gap} better than {d.against}",
        "loss": f"{words.number(abs(d.value))} {words.gap} worse than {d.against}",
        "level": f"no sure difference to {d.against}, {words.signed(d.value)} {words.gap}",
    }
    return said[sign(words, d)].replace("  ", " "), f"{low} to {high}"


def bars(report: Report, verdict: Verdict) -> list[Bar]:
    """All contestants of a verdict's protocol and scale, best first."""
    rows = [r for r in report.rows if (r.protocol, r.scale) == (verdict.protocol, verdict.scale)]
    metric = Wording.main(report.contract, verdict.protocol).metric
    low, high = min(r.ci95[0] for r in rows), max(r.ci95[1] for r in rows)
    span = max(high - low, 1e-12)

    def place(value: float) -> float:
        return 100 * (value - low) / span

    best_first = sorted(rows, key=lambda r: -metric.gain(r.value))
    return [Bar(r, place(r.ci95[0]), place(r.value), place(r.ci95[1])) for r in best_first]


def gaps(report: Report, protocol: str, scales: Sequence[float]) -> list[Gaps]:
    """Differences of a protocol, one line for each encoder and what it is held against.

    A random init that is the best floor at every scale stands once.
    """
    mine = [d for d in report.differences if d.protocol == protocol]
    best = {(d.encoder, d.scale): d.against for d in mine if d.role == "best floor"}
    found = []
    for encoder, role in dict.fromkeys((d.encoder, d.role) for d in mine):
        by_scale = {d.scale: d for d in mine if (d.encoder, d.role) == (encoder, role)}
        if role == "random init" and all(best[encoder, s] == d.against for s, d in by_scale.items()):
            continue
        found.append(Gaps(encoder, role, [by_scale.get(s) for s in scales]))
    return found


def sign(words: Wording, difference: Difference) -> str:
    """``gain``, ``loss`` or ``level``: which side of zero the whole interval lies on."""
    low, high = sorted(words.metric.gain(v) for v in difference.ci95)
    return "gain" if low > 0 else "loss" if high < 0 else "level"


def other_scores(report: Report) -> dict[str, tuple[list[Wording], dict[str, list[Score]]]]:
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


def shares(confusion: Confusion) -> list[list[float]]:
    """Each row of counts as shares of its class."""
    return [[n / max(1, sum(row)) for n in row] for row in confusion.counts]


def swaps(confusion: Confusion, names: Sequence[str]) -> list[str]:
    """The most frequent confusions, in words."""
    pairs = [
        (n, sum(row), names[i], names[j])
        for i, row in enumerate(confusion.counts)
        for j, n in enumerate(row)
        if i != j and n
    ]
    pairs.sort(key=lambda p: -p[0])
    return [f"{true} taken for {said}: {n} of {of}" for n, of, true, said in pairs[:SWAPS]]


def shown(report: Report) -> list[Shown]:
    """The worst errors, ready to be drawn."""
    unit = report.contract.data.label_unit or ""
    values, sure = report.contract.task == "regression", "sure" if report.contract.task == "classification" else "off"
    return [
        Shown(
            m,
            f"data:image/jpeg;base64,{b64encode(m.picture).decode()}",
            f"off by {m.size:+.4g} {unit}".replace("-", "−").strip() if values else f"{100 * m.size:.0f} % {sure}",
        )
        for m in report.details.mistakes
    ]


def tree(value: dict[str, Any]) -> Tree:
    """Settings as a readable tree: names without underscores, and text at the leaves."""
    return [(name.replace("_", " "), _branch(v)) for name, v in value.items()]


def _branch(value: Any) -> str | Tree:
    if isinstance(value, dict):
        return tree(value) if value else "none"
    if isinstance(value, (list, tuple)):
        if any(isinstance(v, dict) for v in value):
            return [(str(i), _branch(v)) for i, v in enumerate(value, 1)]
        return ", ".join(_leaf(v) for v in value) or "none"
    return _leaf(value)


def _leaf(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
