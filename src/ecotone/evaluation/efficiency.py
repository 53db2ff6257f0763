"""Plots of score against cost as inline SVG; colours are CSS variables, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 440, 290, 48, 14, 12, 44


@dataclass(frozen=True)
class Point:
    """One model: its cost, and its score with the ends of the interval."""

    name: str
    cost: float
    value: float
    low: float
    high: float


def cost_plot(points: Sequence[Point], title: str, axis: str, *, percent: bool, floor: float | None = None) -> str:
    """Score by cost on a logarithmic axis, with 95 % intervals; the best floor as a dashed line.

    Args:
        points: At least one; costs above 0.
        title: Read by screen readers.
        axis: What the cost is.
        percent: The scores are shares, printed in per cent.
        floor: Score of the best floor.
    """
    factor = 100 if percent else 1
    values = [v for p in points for v in (p.low, p.high)] + ([] if floor is None else [floor])
    slack = 0.0 if max(values) > min(values) else max(0.01, 0.01 * abs(values[0]))  # equal scores still need an axis
    ticks = MaxNLocator(5).tick_values(min(values) - slack, max(values) + slack)
    first, last = (math.log10(f(p.cost for p in points)) for f in (min, max))
    margin = max(0.15, 0.08 * (last - first))

    def x(cost: float) -> float:
        share = (math.log10(cost) - first + margin) / (last - first + 2 * margin)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (ticks[-1] - value) / (ticks[-1] - ticks[0]) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{factor * tick:g}</text>')
    for cost in dict.fromkeys((min(p.cost for p in points), max(p.cost for p in points))):
        parts.append(f'<text x="{x(cost):.1f}" y="{HEIGHT - 26}" text-anchor="middle">{_cost(cost)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(axis)}</text>')
    if floor is not None:
        line = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(floor):.1f}" y2="{y(floor):.1f}"'
        parts.append(f'<line {line} stroke="var(--floor)" stroke-dasharray="7 4"><title>best floor</title></line>')
    for i, p in enumerate(points):
        colour = f"var(--e{i % 4})"
        parts.append(f'<path d="M{x(p.cost):.1f} {y(p.low):.1f}V{y(p.high):.1f}" stroke="{colour}" stroke-width="2"/>')
        tip = f"{p.name}: {factor * p.value:.4g} ({factor * p.low:.4g} to {factor * p.high:.4g}) at {p.cost:.4g}"
        dot = f'cx="{x(p.cost):.1f}" cy="{y(p.value):.1f}" r="5" fill="{colour}"'
        parts.append(f"<circle {dot}><title>{escape(tip)}</title></circle>")
        place = min(max(x(p.cost), LEFT + 40), WIDTH - RIGHT - 40)  # the name stays inside the picture
        parts.append(f'<text x="{place:.1f}" y="{y(p.value) - 10:.1f}" text-anchor="middle">{escape(p.name)}</text>')
    return "".join([*parts, "</svg>"])


def _cost(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
