"""A predictor's answers to a labelled dataset, and the features of an encoder for its head."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ecotone.data import Dataset, Quarantine, batches
from ecotone.data.masks import IGNORED, TARGET
from ecotone.errors import DataError
from ecotone.heads import Predictor
from ecotone.heads.tasks import answers, confusion, figures, judge, loss, targets
from ecotone.samples import Batch

OnProgress = Callable[[str, int, int], None]  # what is being done, images done, images in all
BATCH = 64


@dataclass(frozen=True)
class Answered:
    """Answers and labels of a whole dataset, on the CPU.

    Attributes:
        given: What the predictor said (N, K); of pixels the confusion (N, K, K).
        labels: What the dataset says; of pixels the confusion as well.
        figures: How good the answers are, and the ``loss``.
    """

    given: Tensor
    labels: Tensor
    figures: dict[str, float]


@torch.no_grad()
def answer(
    predictor: Predictor, dataset: Dataset, on_progress: OnProgress | None = None, what: str = "val"
) -> Answered:
    """Put a dataset to a predictor, on the device where it is."""
    predictor.eval()
    if predictor.task == "segmentation":
        return _answer_pixels(predictor, dataset, on_progress, what)
    scores, labels = [], []
    for batch in read_batches(dataset, on_progress, what):
        scores.append(predictor.scores(batch.to(_device(predictor))).float().cpu())
        labels.append(label_of(batch))
    found, truth = torch.cat(scores), torch.cat(labels)
    given = answers(predictor.task, found, predictor.scaling)
    wanted = targets(predictor.task, truth, predictor.outputs, predictor.scaling)
    cost = float(loss(predictor.task, found, wanted))
    return Answered(given, truth, {**figures(predictor.task, judge(predictor.task, given, truth)), "loss": cost})


def _answer_pixels(predictor: Predictor, dataset: Dataset, on_progress: OnProgress | None, what: str) -> Answered:
    """Put a dataset with target rasters to a predictor; of the answers only the confusion of each image is kept."""
    found, cost, known = [], 0.0, 0
    for batch in read_batches(dataset, on_progress, what):
        batch = batch.to(_device(predictor))
        scores, labels = predictor.scores(batch).float(), pixel_labels(batch)
        found.append(confusion(scores, labels).cpu())
        pixels = int((labels != IGNORED).sum())
        cost, known = cost + pixels * float(loss("segmentation", scores, labels)), known + pixels
    if not known:
        raise DataError(f"no pixel of {what} has a label")
    given = torch.cat(found)
    measured = figures("segmentation", judge("segmentation", given, given))
    return Answered(given, given, {**measured, "loss": cost / known})


@torch.no_grad()
def pooled_features(
    predictor: Predictor, dataset: Dataset, on_progress: OnProgress | None, what: str
) -> tuple[Tensor, Tensor]:
    """What a linear head reads (N, D), and the labels, of images as they are; on the CPU."""
    predictor.eval()
    features, labels = [], []
    for batch in read_batches(dataset, on_progress, what):
        prepared = predictor.spec.prepare(batch.to(_device(predictor)))
        features.append(predictor.head.read(predictor.encoder, prepared).pooled.float().cpu())
        labels.append(label_of(batch))
    found = torch.cat(features)
    if not bool(found.isfinite().all()):
        raise DataError("the encoder gives features that are not finite", mend="Check the images and the normaliser.")
    return found, torch.cat(labels)


def label_of(batch: Batch) -> Tensor:
    """The labels of a batch, N first.

    Raises:
        DataError: It has none.
    """
    labels = batch.targets.get("label")
    if not isinstance(labels, Tensor):
        raise DataError("the samples have no label", mend="Fill the label column of manifest.csv.")
    return labels


def pixel_labels(batch: Batch) -> Tensor:
    """(N, H, W) int64 class indices, 255 where there is no label.

    Raises:
        DataError: The samples carry no target rasters.
    """
    if TARGET not in batch.images:
        raise DataError("the samples have no target raster", mend="Name them in the label column of manifest.csv.")
    return batch[TARGET].pixels[:, 0, 0].long()


def read_batches(dataset: Dataset, on_progress: OnProgress | None, what: str) -> Iterator[Batch]:
    """A dataset in batches; samples that cannot be read are left out."""
    done = 0
    for batch in batches(dataset, BATCH, quarantine=Quarantine()):
        yield batch
        done += len(batch)
        if on_progress:
            on_progress(what, done, len(dataset))


def _device(predictor: Predictor) -> torch.device:
    return next(predictor.parameters()).device
