"""Plots of a geometry report as inline SVG; colours are CSS variables, so that they follow light and dark."""

from __future__ import annotations

from html import escape

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

Array = NDArray[np.floating]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 440, 260, 52, 14, 12, 44
BINS, DECADES = 32, 6  # the spectrum is drawn down to a millionth of its first value


def spectrum_chart(variances: Array, title: str) -> str:
    """Share of the variance along each principal direction, on a logarithmic axis.

    Args:
        variances: (D,) largest first.
        title: Read by screen readers.
    """
    shares = np.asarray(variances) / max(float(np.sum(variances)), 1e-300)
    shares = shares[shares > 10.0**-DECADES * shares[0]] if shares[0] > 0 else np.ones(1)
    high = np.ceil(np.log10(shares[0]) - 1e-9)
    low = min(np.floor(np.log10(shares[-1])), high - 1)
    ticks = np.arange(low, high + 1)
    numbers = MaxNLocator(5, integer=True).tick_values(1, max(2, len(shares)))
    x = _axis(1, max(2, len(shares)), LEFT, WIDTH - RIGHT)
    y = _axis(low, high, HEIGHT - BOTTOM, TOP)
    parts = _frame(title, "principal direction", [(x(n), f"{n:g}") for n in numbers if 1 <= n <= len(shares)])
    parts += _grid([(y(t), f"{100 * 10**t:.3g} %") for t in ticks])
    line = " ".join(f"{x(i):.1f},{y(np.log10(s)):.1f}" for i, s in enumerate(shares, 1))
    return "".join([*parts, f'<polyline points="{line}" fill="none" stroke="var(--e0)" stroke-width="2.4"/></svg>'])


def histogram_chart(values: Array, twin: Array, title: str, axis: str, *, whole: bool = False) -> str:
    """Shares of rows by a value as bars, those of the Gaussian twin as a dashed outline.

    Args:
        values: (n,) finite; beyond the 99.5th percentile they are drawn in the last bar.
        twin: (m,) of the twin; may be empty.
        title: Read by screen readers.
        axis: What the values are.
        whole: The values are whole numbers: no bar is narrower than one.
    """
    edges = _edges(np.concatenate([values, twin]), whole)
    bars, outline = (_shares(v, edges) for v in (values, twin))
    ticks = MaxNLocator(4).tick_values(0, max(float(bars.max()), float(outline.max()), 1e-9))
    x, y = _axis(edges[0], edges[-1], LEFT, WIDTH - RIGHT), _axis(0, ticks[-1], HEIGHT - BOTTOM, TOP)
    numbers = [t for t in MaxNLocator(6).tick_values(edges[0], edges[-1]) if edges[0] <= t <= edges[-1]]
    parts = _frame(title, axis, [(x(t), f"{t:g}") for t in numbers])
    parts += _grid([(y(t), f"{100 * t:.3g} %") for t in ticks])
    for left, right, share in zip(edges, edges[1:], bars, strict=False):
        tip = f"<title>{left:.4g} to {right:.4g}: {100 * share:.3g} %</title>"
        box = f'x="{x(left) + 0.5:.1f}" y="{y(share):.1f}" width="{max(x(right) - x(left) - 1, 0.5):.1f}"'
        parts.append(f'<rect {box} height="{y(0) - y(share):.1f}" fill="var(--e0)">{tip}</rect>')
    if len(twin):
        steps = [f"{x(e):.1f},{y(s):.1f}" for i, s in enumerate(outline) for e in (edges[i], edges[i + 1])]
        style = 'fill="none" stroke="var(--e1)" stroke-width="1.8" stroke-dasharray="5 3"'
        parts.append(f'<polyline points="{" ".join(steps)}" {style}/>')
    return "".join([*parts, "</svg>"])


def _edges(values: Array, whole: bool) -> Array:
    low, high = float(values.min()), float(np.percentile(values, 99.5))
    if whole:
        step = max(1, -(-(int(high) - int(low) + 1) // BINS))
        return np.arange(int(low), int(high) + step + 1, step) - 0.5
    return np.linspace(low, high if high > low else low + 1, BINS + 1)


def _shares(values: Array, edges: Array) -> Array:
    return np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / max(1, len(values))


def _axis(low: float, high: float, first: float, last: float):  # noqa: ANN202 - a closure
    return lambda value: first + (value - low) / (high - low) * (last - first)


def _frame(title: str, axis: str, numbers: list[tuple[float, str]]) -> list[str]:
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    parts += [f'<text x="{at:.1f}" y="{HEIGHT - 26}" text-anchor="middle">{text}</text>' for at, text in numbers]
    middle = (LEFT + WIDTH - RIGHT) / 2
    return [*parts, f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(axis)}</text>']


def _grid(ticks: list[tuple[float, str]]) -> list[str]:
    return [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{text}</text>'
        for at, text in ticks
    ]
