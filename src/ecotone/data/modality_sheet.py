"""One picture of some samples in all their modalities: a row per sample, with legends and units."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecotone.data.base import Dataset, modalities_of
from ecotone.errors import DataError
from ecotone.files import replacing
from ecotone.modalities import Modality
from ecotone.samples import Sample
from ecotone.sensors import sensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL, TEXT, FOOT = 1.7, 2.6, 1.9  # inches: a panel, the column of words, the legends below
MISSING = "#d9d9d9"
# The palettes of the maps' makers, class by class; other class maps take colours of matplotlib's tab20.
COLOURS = {
    "dynamic_world": (
        "#419bdf", "#397d49", "#88b053", "#7a87c6", "#e49635", "#dfc35a", "#c4281b", "#a59b8f", "#b39fe1",
    ),
    "esa_worldcover": (
        "#006400", "#ffbb22", "#ffff4c", "#f096ff", "#fa0000", "#b4b4b4", "#f0f0f0", "#0064c8", "#0096a0", "#00cf75",
        "#fae6a0",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One column of the picture: a modality, and its channels shown there (three as red, green and blue)."""

    modality: Modality
    channels: tuple[int, ...]
    title: str


def modality_sheet(dataset: Dataset, path: str | Path, *, tiles: int = 4) -> Path:
    """Write a PNG with every modality of some samples, spread evenly over the dataset.

    Measured channels have a colour bar in their unit over the 2nd to 98th percentile of the tiles shown, class maps
    a legend, image-level values stand as words. Grey is missing. A channel that no tile shown has is left out.

    Args:
        dataset: A dataset with modalities.
        path: The picture.
        tiles: How many samples, one per row.

    Raises:
        DataError: The dataset has no modalities, nothing could be read, or the file cannot be written.
    """
    modalities = modalities_of(dataset)
    if not modalities:
        raise DataError(f"{dataset.info.name} has no modalities to show")
    samples = _samples(dataset, tiles)
    panels = [p for m in modalities.values() if m.scope == "pixel" for p in _panels(m, samples)]
    words = [m for m in modalities.values() if m.scope == "image"]
    figure = _draw(dataset, samples, panels, words)
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return Path(path)


def _samples(dataset: Dataset, tiles: int) -> list[Sample]:
    count, found = len(dataset), []
    for index in sorted({i * count // min(tiles, count) for i in range(min(tiles, count))}):
        try:
            found.append(dataset[index])
        except DataError:
            continue  # the survey lists broken samples
    if not found:
        raise DataError(f"no sample of {dataset.info.name} could be read")
    return found


def _panels(modality: Modality, samples: list[Sample]) -> list[Panel]:
    """True colour where the sensor has it, else every channel that some tile has."""
    if modality.kind == "categorical":
        return [Panel(modality, (0,), modality.name)]
    source = samples[0].images[modality.role].sensor
    named = [sensor(source).common(c) if source else None for c in ("red", "green", "blue")]
    shown = tuple(modality.channels.index(b.name) for b in named if b is not None and b.name in modality.channels)
    if len(shown) == 3:
        bands = ", ".join(modality.channels[i] for i in shown)
        return [Panel(modality, shown, f"{modality.name}\n{bands}")]
    seen = [np.isfinite(_pixels(s, modality)).any((1, 2)) for s in samples]
    chosen = np.flatnonzero(np.any(seen, axis=0))
    return [Panel(modality, (int(i),), f"{modality.name}\n{modality.channels[i]}") for i in chosen]


def _pixels(sample: Sample, modality: Modality) -> NDArray[np.float64]:
    """(C, H, W) values of the first date; NaN is missing."""
    pixels = sample.images[modality.role].pixels[0].double().numpy()
    return np.where(pixels < 0, np.nan, pixels) if modality.kind == "categorical" else pixels


def _draw(dataset: Dataset, samples: list[Sample], panels: list[Panel], words: list[Modality]) -> Figure:
    from matplotlib.figure import Figure

    width, height = PANEL * len(panels) + TEXT, PANEL * len(samples) + FOOT + 0.7
    figure = Figure((width, height), layout="constrained")
    grid = figure.add_gridspec(
        len(samples) + 1,
        len(panels) + 1,
        height_ratios=[*[PANEL] * len(samples), FOOT],
        width_ratios=[*[PANEL] * len(panels), TEXT],
    )
    note = ", synthetic: not imagery of the Earth" if dataset.info.synthetic else ""
    figure.suptitle(f"{dataset.info.name}{note}; grey is missing", fontsize=9)
    for column, panel in enumerate(panels):
        foot = figure.add_subplot(grid[-1, column])
        axes = [figure.add_subplot(grid[row, column]) for row in range(len(samples))]
        axes[0].set_title(panel.title, fontsize=7)
        _column(figure, axes, foot, panel, samples)
    for row, sample in enumerate(samples):
        figure.axes[row + 1].set_ylabel(_label(sample), fontsize=6)
        _write(figure.add_subplot(grid[row, -1]), _values(sample, words), 6)
    order = "\n".join(f"{m.name}: {', '.join(m.channels)}" for m in words if m.kind == "continuous")
    _write(figure.add_subplot(grid[-1, -1]), order.replace(", ", "\n   "), 4)
    return figure


def _column(figure: Figure, axes: list[Axes], foot: Axes, panel: Panel, samples: list[Sample]) -> None:
    values = [_pixels(s, panel.modality)[list(panel.channels)] for s in samples]
    foot.axis("off")
    for ax in axes:
        ax.set(xticks=[], yticks=[], facecolor=MISSING)
    if panel.modality.kind == "categorical":
        _classes(axes, foot, panel.modality, values)
    elif len(panel.channels) == 3:
        for ax, tile in zip(axes, values, strict=True):
            ax.imshow(_colours(tile))
        foot.text(0, 1, f"{panel.modality.unit}\nstretched tile by tile", fontsize=6, va="top")
    else:
        finite = np.concatenate([v[np.isfinite(v)] for v in values])
        low, high = np.percentile(finite, (2, 98)) if finite.size else (0, 1)
        for ax, tile in zip(axes, values, strict=True):
            drawn = ax.imshow(tile[0], cmap="viridis", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
        bar = figure.colorbar(drawn, ax=foot, location="top", fraction=0.12, pad=0, aspect=12)
        bar.ax.tick_params(labelsize=5, bottom=True, labelbottom=True, top=False, labeltop=False)
        bar.set_label(_unit(panel), fontsize=6)


def _unit(panel: Panel) -> str:
    """The unit of the channel shown: the modality's, or its own part of one such as ``metre, degree``."""
    parts = (panel.modality.unit or "").split(", ")
    return parts[panel.channels[0]] if len(parts) == len(panel.modality.channels) else ", ".join(parts)


def _classes(axes: list[Axes], foot: Axes, modality: Modality, values: list[NDArray[np.float64]]) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    count = len(modality.channels)
    colours: Any = COLOURS.get(modality.name) or [colormaps["tab20"](i % 20) for i in range(count)]
    for ax, tile in zip(axes, values, strict=True):
        ax.imshow(tile[0], cmap=ListedColormap(colours), vmin=-0.5, vmax=count - 0.5, interpolation="nearest")
    present = sorted({int(v) for tile in values for v in np.unique(tile[np.isfinite(tile)])})
    patches = [Patch(facecolor=colours[i], edgecolor="grey", label=modality.channels[i]) for i in present]
    foot.legend(handles=patches, loc="upper left", fontsize=5, frameon=False, borderaxespad=0)


def _colours(tile: NDArray[np.float64]) -> NDArray[np.float64]:
    """(H, W, 4) true colour, transparent where missing."""
    seen: NDArray[np.bool_] = ~np.isnan(tile.sum(0))
    low, high = np.percentile(tile[:, seen], (2, 98)) if seen.any() else (0, 1)
    rgb = np.clip((np.nan_to_num(tile) - low) / max(high - low, 1e-6), 0, 1)
    return np.concatenate([rgb, seen[None].astype(np.float64)]).transpose(1, 2, 0)


def _label(sample: Sample) -> str:
    image = next(iter(sample.images.values()))
    when = image.times[0].date().isoformat() if image.times and image.times[0] else ""
    where = f"{sample.place.lat:.2f}, {sample.place.lon:.2f}" if sample.place else ""
    return "\n".join(part for part in (sample.key, f"{when} {image.level or ''}".strip(), where) if part)


def _write(ax: Axes, text: str, points: float) -> None:
    ax.axis("off")
    ax.text(0, 1, text, fontsize=points, va="top", family="monospace")


def _values(sample: Sample, words: list[Modality]) -> str:
    """The image-level values of a sample, one line each; long ones in rows of four."""
    lines = []
    for modality in words:
        value = sample.targets[modality.role]
        if modality.kind == "categorical":
            lines.append(f"{modality.name}: {modality.channels[value] if value >= 0 else 'missing'}")
            continue
        numbers = ["missing" if v != v else f"{v:.4g}" for v in value.tolist()]
        rows = [" ".join(numbers[i : i + 4]) for i in range(0, len(numbers), 4)]
        lines.append(f"{modality.name}: " + ("\n   " if len(rows) > 1 else "") + "\n   ".join(rows))
    return "\n".join(lines)
