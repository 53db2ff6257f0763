"""The embedding map: a t-SNE of test features, coloured by what the images are labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from ecotone.evaluation.features import FeatureSet

# Ten hues that stay apart on white and on near-black; further classes take the same hues in another shape.
HUES = ("#2f9e6b", "#d9772b", "#4c7bd9", "#c2428f", "#8a9a1f", "#7b5cd6", "#d14d4d", "#1f9fb5", "#b08a3c", "#7d8793")
# Around (0, 0): circle, square, triangle, diamond, cross.
SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "M-3.6 -3.6h7.2v7.2h-7.2z",
    "M0 -4.8L4.6 3.6H-4.6z",
    "M0 -5.2L5.2 0L0 5.2L-5.2 0z",
    "M-4.6 -1.6h3v-3h3.2v3h3v3.2h-3v3h-3.2v-3h-3z",
)
POINTS = 600  # t-SNE of more would cost the reader more seconds than insight
LEAST = 10  # samples below which there is nothing to lay out
WIDTH, HEIGHT, MARGIN = 640, 480, 24


@dataclass(frozen=True)
class Mark:
    """How a sample is drawn: an SVG path around (0, 0) and its colour."""

    colour: str
    shape: str = SHAPES[0]

    @property
    def sample(self) -> str:
        """The mark alone, for a legend."""
        return (
            '<svg class="dot" viewBox="-6 -6 12 12" aria-hidden="true">'
            f'<path d="{self.shape}" fill="{self.colour}"/></svg>'
        )


@dataclass(frozen=True)
class EmbeddingMap:
    """A map as SVG, what its marks mean, and which rule gave each image one of them."""

    svg: str
    legend: list[tuple[str, str]]
    rule: str


def class_mark(index: int) -> Mark:
    """The mark of a class; the first fifty differ."""
    return Mark(HUES[index % len(HUES)], SHAPES[index // len(HUES) % len(SHAPES)])


def embedding_map(features: FeatureSet, keys: Sequence[str], classes: Sequence[str]) -> EmbeddingMap | None:
    """Lay test features out in the plane; None for too few of them.

    Args:
        features: (N, D) features with class indices, zeros and ones, or values as labels.
        keys: N sample keys, shown under the pointer.
        classes: Class names; none for values.
    """
    if len(keys) < LEAST:
        return None
    picked = np.sort(np.random.default_rng(0).permutation(len(keys))[:POINTS]).tolist()
    shown: list[str] = [keys[int(i)] for i in picked]
    places = flatten(features.features[picked])
    labels = features.labels[picked]
    if labels.is_floating_point() and labels.ndim == 1:
        marks, names, legend = _by_value(labels.numpy())
        return EmbeddingMap(_svg(places, marks, names, shown, []), legend, "Coloured by true value.")
    several = labels.ndim == 2
    index = _rarest(labels.numpy(), features.labels.numpy()) if several else labels.numpy()
    listed = [*classes, "none"] if several and (index == len(classes)).any() else list(classes)
    marks = [class_mark(i) for i in index]
    written = [_names(row, classes) for row in labels.numpy()] if several else [listed[i] for i in index]
    middles = _middles(places, index, listed) if len(listed) <= 12 and not several else []  # more would hide the points
    svg = _svg(places, marks, written, shown, middles)
    rule = "Coloured by the rarest of its classes in test." if several else "Coloured by true class."
    return EmbeddingMap(svg, [(name, class_mark(i).sample) for i, name in enumerate(listed)], rule)


def flatten(features: Tensor) -> NDArray[np.float32]:
    """(N, 2) t-SNE of features (N, D)."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    x = features.numpy()
    x = PCA(min(50, *x.shape), random_state=0).fit_transform(x)
    return TSNE(2, perplexity=min(30.0, (len(x) - 1) / 3), init="pca", random_state=0).fit_transform(x)


def _by_value(values: NDArray[np.float32]) -> tuple[list[Mark], list[str], list[tuple[str, str]]]:
    low, high = float(values.min()), float(values.max())
    colours = matplotlib.colormaps["viridis"]
    span = max(high - low, 1e-12)
    marks = [Mark(to_hex(colours((v - low) / span))) for v in values.tolist()]
    steps = np.linspace(0, 1, 5)
    legend = [(f"{low + s * (high - low):.4g}", Mark(to_hex(colours(s))).sample) for s in steps.tolist()]
    return marks, [f"{v:.4g}" for v in values.tolist()], legend


def _rarest(labels: NDArray[np.float32], all_labels: NDArray[np.float32]) -> NDArray[np.int64]:
    """(N,) the class of each image that the fewest images have; the number of classes where it has none."""
    counts = np.where(labels > 0, all_labels.sum(0), np.inf)
    return np.where(labels.any(1), counts.argmin(1), labels.shape[1])


def _names(row: NDArray[np.float32], classes: Sequence[str]) -> str:
    return ", ".join(name for name, has in zip(classes, row, strict=True) if has) or "none"


def _middles(
    places: NDArray[np.float32], index: NDArray[np.int64], names: Sequence[str]
) -> list[tuple[str, float, float]]:
    found = []
    for i in np.unique(index).tolist():
        x, y = np.median(_place(places)[index == i], axis=0)
        found.append((names[i], min(max(x, 70), WIDTH - 70), y))  # the name stays inside the picture
    return found


def _place(points: NDArray[np.float32]) -> NDArray[np.float64]:
    span = np.maximum(np.ptp(points, axis=0), 1e-9)
    return (points - points.min(0)) / span * [WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN] + MARGIN


def _svg(
    points: NDArray[np.float32],
    marks: Sequence[Mark],
    names: Sequence[str],
    keys: Sequence[str],
    middles: Sequence[tuple[str, float, float]],
) -> str:
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Map of the test features">']
    for (x, y), mark, name, key in zip(_place(points), marks, names, keys, strict=True):
        path = f'<path d="{mark.shape}" transform="translate({x:.1f} {y:.1f})" fill="{mark.colour}">'
        parts.append(f"{path}<title>{escape(name)}: {escape(key)}</title></path>")
    for name, x, y in middles:
        parts.append(f'<text class="name" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{escape(name)}</text>')
    return "".join([*parts, "</svg>"])
