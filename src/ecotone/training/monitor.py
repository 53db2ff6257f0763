"""What is watched while training runs: online kNN on val, collapse of the embedding, reconstructions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ecotone.data import open_dataset
from ecotone.encoders import Encoder
from ecotone.errors import DataError
from ecotone.files import replacing
from ecotone.heads.knn import knn_scores, z_score
from ecotone.inputs import RoleSpec, ZScore
from ecotone.methods import Method, Picture
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch, collate
from ecotone.sensors import sensor
from ecotone.training.recipe import MonitorSection
from ecotone.training.resized import Resized


class Monitor:
    """Measures an encoder on a labelled dataset's train and val splits; the test split is never opened.

    Args:
        section: What to measure on.
        probe: Raw training images for the collapse measure and the pictures.
        pictures: Folder for reconstructions.
        size: Side in pixels that labelled images of another size are resized to, as the training images are.
    """

    def __init__(self, section: MonitorSection, probe: Batch, pictures: Path, size: int | None = None) -> None:
        self.section, self.probe, self.pictures = section, probe, pictures
        self._splits = {}
        if section.path is not None:
            self._splits = {s: _read(section.path, s, section.samples, size) for s in ("train", "val")}

    def measure(self, method: Method, encoder: Encoder, images: int) -> dict[str, Any]:
        """Figures for the log; also draws what the method reconstructs."""
        with _evaluating(method, encoder), torch.no_grad():
            figures = collapse(encoder(self.probe).pooled)
            if self._splits:
                figures["knn_val"] = self._knn(encoder)
            self._draw(method, images)
        return figures

    def _knn(self, encoder: Encoder) -> float:
        """Accuracy on val of 20 nearest neighbours among train, by features z-scored on train."""
        features, labels = {}, {}
        for split, parts in self._splits.items():
            features[split] = torch.cat([encoder(b).pooled.float() for b in parts])
            labels[split] = torch.cat([b.targets["label"] for b in parts])
        train, val = z_score(features["train"], features["val"])
        classes = int(labels["train"].max()) + 1
        scores = knn_scores(train, labels["train"], val, classes=classes)
        return float((scores.argmax(1) == labels["val"]).float().mean())

    def _draw(self, method: Method, images: int) -> None:
        few = self.probe.first(6)
        picture = method.picture(few, SampleRandom(few.seeds))
        if picture is not None:
            draw_panels(brightness(picture, method.encoder.spec.optical), self.pictures / f"{images:09d}.png")


def collapse(features: Tensor) -> dict[str, float]:
    """How far the embedding is from collapse, of features (N, D).

    ``feature_std``: mean over dimensions of the standard deviation of L2-normalised features, times sqrt(D): 1 when
    they fill the sphere, 0 when all are equal (Chen and He, SimSiam, CVPR 2021, figure 2). ``effective_rank``:
    exponential of the entropy of the normalised singular values (Roy and Vetterli, EUSIPCO 2007).
    """
    x = torch.nn.functional.normalize(features.float(), dim=1)
    spread = float(x.std(0).mean() * x.shape[1] ** 0.5)
    values = torch.linalg.svdvals(features.float() - features.float().mean(0))
    share = values / values.sum().clamp_min(1e-12)
    entropy = -(share * share.clamp_min(1e-12).log()).sum()
    return {"feature_std": spread, "effective_rank": float(entropy.exp())}


def brightness(picture: Picture, spec: RoleSpec) -> dict[str, np.ndarray]:
    """Panels (N, C, H, W) as brightness in [0, 1]: (N, H, W, 3) in natural colour, or (N, H, W) of the first band.

    All panels share one stretch, from the 2nd to the 98th percentile of the truth; residuals lie around mid-grey.
    """
    chosen = _visible(spec)
    spread, centre = 1.0, 0.0
    if isinstance(spec.normaliser, ZScore):  # undone, so that colours look natural
        spread = torch.tensor(spec.normaliser.std)[chosen].view(-1, 1, 1)
        centre = torch.tensor(spec.normaliser.mean)[chosen].view(-1, 1, 1)
    panels = {name: p[:, chosen].float().cpu() * spread for name, p in picture.panels.items()}
    low, high = np.percentile((panels["truth"] + centre).numpy(), (2, 98))
    scale = max(float(high - low), 1e-6)
    shown = {}
    for name, panel in panels.items():
        light = panel / scale + 0.5 if name in picture.residuals else (panel + centre - low) / scale
        shown[name] = light.clamp(0, 1).permute(0, 2, 3, 1).squeeze(-1).numpy()
    return shown


def _visible(spec: RoleSpec) -> list[int]:
    """Channels of red, green and blue, or of the first band."""
    roles = [sensor(spec.sensor).common(c) for c in ("red", "green", "blue")]
    names = [b.name for b in roles if b is not None and b.name in spec.bands]
    return [spec.bands.index(n) for n in names] if len(names) == 3 else [0]


def draw_panels(panels: dict[str, np.ndarray], file: Path) -> None:
    """Rows of images, one column for each panel, as PNG."""
    rows = len(next(iter(panels.values())))
    figure = Figure(figsize=(1.6 * len(panels), 1.6 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, len(panels), squeeze=False)
    for column, (title, images) in enumerate(panels.items()):
        axes[0, column].set_title(title, fontsize=9)
        for row in range(rows):
            axes[row, column].imshow(images[row], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes[row, column].axis("off")
    with replacing(file) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _read(path: str, split: str, samples: int, size: int | None) -> list[Batch]:
    dataset = open_dataset(path, split=split)
    if size is not None:
        dataset = Resized(dataset, size)
    if not dataset.info.classes:
        raise DataError(f"the online kNN needs labels and {path} has none", mend="Remove monitor.path.")
    # Every n-th sample: manifests are often sorted by class.
    chosen = np.linspace(0, len(dataset) - 1, min(samples, len(dataset))).round().astype(int)
    parts = [chosen[i : i + 128] for i in range(0, len(chosen), 128)]
    return [collate([dataset[int(i)] for i in part]) for part in parts]


@contextmanager
def _evaluating(*modules: torch.nn.Module) -> Iterator[None]:
    modes = [m.training for m in modules]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.train(mode)
