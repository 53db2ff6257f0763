"""Charts of the report as inline SVG; colours are CSS variables, so that they follow light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

# Ten hues that stay apart on white and on near-black; more classes take evenly spaced hues.
HUES = ("#2f9e6b", "#d9772b", "#4c7bd9", "#c2428f", "#8a9a1f", "#7b5cd6", "#d14d4d", "#1f9fb5", "#b08a3c", "#7d8793")
DASHES = ("7 4", "2 3", "9 3 2 3", "1 4", "5 2 1 2")
MAP_POINTS = 600  # t-SNE of more would cost the reader more seconds than insight


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
    return f'stroke="var(--e{rank % 4})" stroke-width="2.6"'


def scale_curve(series: Sequence[Series], title: str, percent: bool = True) -> str:
    """A metric by relative scale, with the encoders' 95 % bands.

    Args:
        series: At least one, all over the same scales.
        title: Read by screen readers.
        percent: The values are shares, printed in per cent.
    """
    factor = 100 if percent else 1
    scales = [p[0] for p in series[0].points]
    values = [v for s in series for p in s.points for v in p[1:]]
    ticks = MaxNLocator(6).tick_values(min(values), max(values))
    low, high = ticks[0], ticks[-1]
    width, height, left, right, top, bottom = 440, 290, 40, 14, 12, 40

    def x(scale: float) -> float:
        step = (width - left - right) / max(1, len(scales) - 1)
        return left + scales.index(scale) * step if len(scales) > 1 else (left + width - right) / 2

    def y(value: float) -> float:
        return top + (high - value) / (high - low) * (height - top - bottom)

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">']
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{factor * tick:g}</text>')
    for s in scales:
        parts.append(f'<text x="{x(s):.1f}" y="{height - 20}" text-anchor="middle">{100 * s:g} %</text>')
    parts.append(f'<text x="{(left + width - right) / 2}" y="{height - 4}" text-anchor="middle">relative scale</text>')
    for i, s in sorted(enumerate(series), key=lambda pair: not pair[1].floor):
        parts += _line(s, line_style(series, i), x, y, factor)
    return "".join([*parts, "</svg>"])


def _line(s: Series, style: str, x, y, factor: int) -> list[str]:  # noqa: ANN001 - two closures over the axes
    parts = []
    if not s.floor and len(s.points) > 1:
        upper = [f"{x(p[0]):.1f},{y(p[3]):.1f}" for p in s.points]
        lower = [f"{x(p[0]):.1f},{y(p[2]):.1f}" for p in reversed(s.points)]
        colour = style.split('"')[1]
        parts.append(f'<polygon points="{" ".join(upper + lower)}" fill="{colour}" opacity="0.14"/>')
    path = " ".join(f"{x(p[0]):.1f},{y(p[1]):.1f}" for p in s.points)
    parts.append(f'<polyline points="{path}" fill="none" {style} stroke-linejoin="round"/>')
    for scale, value, low, high in s.points:
        tip = f"{s.name}, {100 * scale:g} %: {factor * value:.4g} ({factor * low:.4g} to {factor * high:.4g})"
        dot = f'cx="{x(scale):.1f}" cy="{y(value):.1f}" r="{2.2 if s.floor else 3.6}"'
        parts.append(f'<circle {dot} fill="{style.split(chr(34))[1]}"><title>{escape(tip)}</title></circle>')
    return parts


def class_colour(index: int, classes: int) -> str:
    """A colour for a class."""
    if classes <= len(HUES):
        return HUES[index]
    return f"hsl({360 * index / classes:.0f} {55 + 15 * (index % 2)}% {42 + 12 * (index % 3)}%)"


def flatten(features: Tensor, labels: Tensor) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(M, 2) t-SNE of at most ``MAP_POINTS`` features (N, D), and the labels (M,) of these samples."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    picked = np.sort(np.random.default_rng(0).permutation(len(labels))[:MAP_POINTS])
    x = features[picked].numpy()
    x = PCA(min(50, *x.shape), random_state=0).fit_transform(x)
    perplexity = min(30.0, (len(x) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(x), labels[picked].numpy()


def embedding_map(points: NDArray[np.float32], labels: NDArray[np.int64], classes: Sequence[str]) -> str:
    """A scatter of the samples, coloured by class; up to twelve classes are named at their middle."""
    width, height, margin = 640, 480, 24
    span = np.maximum(np.ptp(points, axis=0), 1e-9)
    place = (points - points.min(0)) / span * [width - 2 * margin, height - 2 * margin] + margin
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Map of the test features by class">']
    names = [escape(name) for name in classes]
    for (cx, cy), label in zip(place, labels.tolist(), strict=True):
        colour, name = class_colour(label, len(names)), names[label]
        parts.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="4" fill="{colour}"><title>{name}</title></circle>')
    for label in np.unique(labels).tolist() if len(classes) <= 12 else ():  # more names would hide the points
        cx, cy = np.median(place[labels == label], axis=0)
        cx = min(max(cx, 70), width - 70)  # the name stays inside the picture
        parts.append(f'<text class="name" x="{cx:.1f}" y="{cy:.1f}" text-anchor="middle">{names[label]}</text>')
    return "".join([*parts, "</svg>"])
