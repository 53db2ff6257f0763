"""Charts of the report as inline SVG; colours are CSS variables, so that they follow light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Protocol

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

DASHES = ("7 4", "2 3", "9 3 2 3", "1 4", "5 2 1 2", "12 4", "4 2", "8 2 2 2 2 2")
ENCODERS = 6  # colours; further encoders take them again
AGREEMENT_POINTS = 1000  # more would make the page heavy and the picture no clearer


Legend = list[tuple[str, Markup]]  # name, line


class Axis(Protocol):
    """Names the places of a curve, as ``Resize`` of the contract does."""

    @property
    def axis(self) -> str: ...

    def label(self, scale: float) -> str: ...


@dataclass(frozen=True)
class Series:
    """One line of a scale curve: (scale, value, low, high) at each scale, largest scale first."""

    name: str
    floor: bool
    points: Sequence[tuple[float, float, float, float]]


def line_style(series: Sequence[Series], index: int) -> str:
    """SVG attributes: encoders solid and coloured, floors grey and dashed, each in its own way."""
    s = series[index]
    rank = sum(other.floor == s.floor for other in series[:index])
    if s.floor:
        return f'stroke="var(--floor)" stroke-width="1.6" stroke-dasharray="{DASHES[rank % len(DASHES)]}"'
    return f'stroke="var(--e{rank % ENCODERS})" stroke-width="2.6"'


def legend(series: Sequence[Series]) -> Legend:
    """The name and a piece of the line of each."""
    return [
        (
            s.name,
            Markup(
                '<svg viewBox="0 0 34 10" width="34" height="10" aria-hidden="true">'
                f'<line x1="1" x2="33" y1="5" y2="5" {line_style(series, i)}/></svg>'
            ),
        )
        for i, s in enumerate(series)
    ]


def scale_curve(series: Sequence[Series], title: str, resize: Axis, percent: bool = True) -> str:
    """A metric by scale, with the encoders' 95 % bands.

    Args:
        series: At least one, in one order of scales.
        title: Read by screen readers.
        resize: Names the scales; of another kind of curve, its shares.
        percent: The values are shares, printed in per cent.
    """
    factor = 100 if percent else 1
    longest = max((s.points for s in series), key=len)
    scales = sorted({p[0] for s in series for p in s.points}, reverse=longest[0] > longest[-1])
    values = [v for s in series for p in s.points for v in p[1:]]
    ticks = MaxNLocator(6).tick_values(min(values), max(values))
    low, high = ticks[0], ticks[-1]
    width, height, left, right, top, bottom = 440, 290, 46, 16, 12, 46

    def x(scale: float) -> float:
        step = (width - left - right) / max(1, len(scales) - 1)
        return left + scales.index(scale) * step if len(scales) > 1 else (left + width - right) / 2

    def y(value: float) -> float:
        return top + (high - value) / (high - low) * (height - top - bottom)

    parts = [_open(width, height, title)]
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{factor * tick:g}</text>')
    for s in scales:
        parts.append(f'<text x="{x(s):.1f}" y="{height - 26}" text-anchor="middle">{resize.label(s)}</text>')
    parts.append(f'<text x="{(left + width - right) / 2}" y="{height - 5}" text-anchor="middle">{resize.axis}</text>')
    for i, s in sorted(enumerate(series), key=lambda pair: not pair[1].floor):
        parts += _line(s, line_style(series, i), x, y, factor, resize)
    return "".join([*parts, "</svg>"])


def _line(s: Series, style: str, x, y, factor: int, resize: Axis) -> list[str]:  # noqa: ANN001 - two closures
    parts = []
    if not s.floor and len(s.points) > 1:
        upper = [f"{x(p[0]):.1f},{y(p[3]):.1f}" for p in s.points]
        lower = [f"{x(p[0]):.1f},{y(p[2]):.1f}" for p in reversed(s.points)]
        colour = style.split('"')[1]
        parts.append(f'<polygon points="{" ".join(upper + lower)}" fill="{colour}" opacity="0.14"/>')
    path = " ".join(f"{x(p[0]):.1f},{y(p[1]):.1f}" for p in s.points)
    parts.append(f'<polyline points="{path}" fill="none" {style} stroke-linejoin="round"/>')
    for scale, value, low, high in s.points:
        tip = f"{s.name}, {resize.label(scale)}: {factor * value:.4g} ({factor * low:.4g} to {factor * high:.4g})"
        dot = f'cx="{x(scale):.1f}" cy="{y(value):.1f}" r="{2.2 if s.floor else 3.6}"'
        parts.append(f'<circle {dot} fill="{style.split(chr(34))[1]}"><title>{escape(tip)}</title></circle>')
    return parts


def agreement(points: Sequence[tuple[float, float]], title: str, unit: str) -> str:
    """Said over true values, with the diagonal on which they agree.

    Args:
        points: True and said value of each image; of many, some spread evenly are drawn.
        title: Read by screen readers.
        unit: Of the values; may be empty.
    """
    low, high = min(min(p) for p in points), max(max(p) for p in points)
    ticks = MaxNLocator(5).tick_values(low, high)
    return _cloud(points, title, ticks, ticks, ("true", "said"), unit, "diagonal")


def residual_chart(points: Sequence[tuple[float, float]], title: str, unit: str) -> str:
    """Said minus true over true values, with the line of no error; arguments as for ``agreement``."""
    off = [(true, said - true) for true, said in points]
    ticks = [MaxNLocator(5).tick_values(min(c), max(c)) for c in zip(*off, strict=True)]
    return _cloud(off, title, ticks[0], ticks[1], ("true", "said minus true"), unit, "zero")


def _cloud(
    points: Sequence[tuple[float, float]],
    title: str,
    across: Sequence[float],
    up: Sequence[float],
    names: tuple[str, str],
    unit: str,
    line: str,
) -> str:
    width, height, left, right, top, bottom = 440, 340, 56, 16, 26, 46

    def x(value: float) -> float:
        return left + (value - across[0]) / (across[-1] - across[0]) * (width - left - right)

    def y(value: float) -> float:
        return top + (up[-1] - value) / (up[-1] - up[0]) * (height - top - bottom)

    parts = [_open(width, height, title)]
    for t in up:
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(t):.1f}" y2="{y(t):.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{y(t) + 4:.1f}" text-anchor="end">{_plain(t)}</text>')
    parts += [f'<text x="{x(t):.1f}" y="{height - 26}" text-anchor="middle">{_plain(t)}</text>' for t in across]
    caption = escape(f"{names[0]}, {unit}" if unit else names[0])
    parts.append(f'<text x="{(left + width - right) / 2}" y="{height - 5}" text-anchor="middle">{caption}</text>')
    parts.append(f'<text x="{left}" y="14">{escape(f"{names[1]}, {unit}" if unit else names[1])}</text>')
    ends = (up[0], up[-1]) if line == "diagonal" else (0, 0)
    style = 'stroke="var(--ink)" stroke-width="1.4" stroke-dasharray="6 4"'
    parts.append(f'<line x1="{left}" x2="{width - right}" y1="{y(ends[0]):.1f}" y2="{y(ends[1]):.1f}" {style}/>')
    step = max(1, len(points) // AGREEMENT_POINTS)
    for a, b in points[::step]:
        tip = f"<title>{names[0]} {a:.4g}, {names[1]} {b:.4g}</title>"
        parts.append(f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3.4" fill="var(--e0)" opacity="0.6">{tip}</circle>')
    return "".join([*parts, "</svg>"])


def _open(width: int, height: int, title: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'


def _plain(tick: float) -> str:
    return f"{0.0 if abs(tick) < 1e-12 else tick:.4g}"
