"""A predictor's answers to a labelled dataset, and the features of an encoder for its head."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ecotone.data import Dataset, Quarantine, batches
from ecotone.errors import DataError
from ecotone.heads import Predictor
from ecotone.heads.tasks import answers, figures, judge, loss, targets
from ecotone.samples import Batch

OnProgress = Callable[[str, int, int], None]  # what is being done, images done, images in all
BATCH = 64


@dataclass(frozen=True)
class Answered:
    """Answers (N, K) and labels of a whole dataset, on the CPU.

    Attributes:
        given: What the predictor said.
        labels: What the dataset says.
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
    scores, labels = [], []
    for batch in _read(dataset, on_progress, what):
        scores.append(predictor.scores(batch.to(_device(predictor))).float().cpu())
        labels.append(label_of(batch))
    found, truth = torch.cat(scores), torch.cat(labels)
    given = answers(predictor.task, found, predictor.scaling)
    wanted = targets(predictor.task, truth, predictor.outputs, predictor.scaling)
    cost = float(loss(predictor.task, found, wanted))
    return Answered(given, truth, {**figures(predictor.task, judge(predictor.task, given, truth)), "loss": cost})


@torch.no_grad()
def pooled_features(
    predictor: Predictor, dataset: Dataset, on_progress: OnProgress | None, what: str
) -> tuple[Tensor, Tensor]:
    """What a linear head reads (N, D), and the labels, of images as they are; on the CPU."""
    predictor.eval()
    features, labels = [], []
    for batch in _read(dataset, on_progress, what):
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


def _read(dataset: Dataset, on_progress: OnProgress | None, what: str) -> Iterator[Batch]:
    done = 0
    for batch in batches(dataset, BATCH, quarantine=Quarantine()):
        yield batch
        done += len(batch)
        if on_progress:
            on_progress(what, done, len(dataset))


def _device(predictor: Predictor) -> torch.device:
    return next(predictor.parameters()).device
