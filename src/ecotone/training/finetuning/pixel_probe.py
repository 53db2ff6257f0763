"""The linear start of fine-tuning for every pixel: a predictor by itself, on a frozen encoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ecotone.data import Dataset
from ecotone.data.masks import IGNORED
from ecotone.errors import DataError
from ecotone.heads import PixelHead, Predictor
from ecotone.heads.dense import side_by_side
from ecotone.heads.linear_fits import linear_fits
from ecotone.heads.tasks import confusion, figures, gain, judge, loss
from ecotone.training.finetuning.probe import Probed, keep_fit
from ecotone.training.finetuning.scoring import OnProgress, pixel_labels, read_batches

CELLS = 20_000  # of each split, for the linear start


def fit_pixel_probe(
    predictor: Predictor, train: Dataset, val: Dataset, on_progress: OnProgress | None, *, balanced: bool = False
) -> list[Probed]:
    """Give a predictor with a new pixel head the best linear one on its encoder as it is, chosen on val.

    It is fitted on cells of the encoder's maps, drawn evenly from the images, whose class is the most frequent one of
    their pixels. Of equally good strengths that of the least loss is taken: a rare class may be said by none of them.

    Args:
        predictor: Its head gets the weights.
        train: What is learnt from.
        val: What the choice is made by.
        on_progress: Told of the images read.
        balanced: Every class has as many cells of train.

    Returns:
        What was tried, with figures on cells of val.
    """
    head = predictor.head
    assert isinstance(head, PixelHead)  # the caller's
    x, labels = _cells(predictor, head, train, on_progress, "features of train")
    if balanced:
        chosen = _balanced(labels)
        x, labels = x[chosen], labels[chosen]
    x_val, labels_val = _cells(predictor, head, val, on_progress, "features of val")
    head.standardise_by(x.to(head.linear.weight.device))
    mean, std = (s.cpu() for s in (head.mean, head.std))  # pyright: ignore[reportCallIssue, reportGeneralTypeIssues]
    fits = list(linear_fits((x - mean) / std, labels, predictor.outputs))
    tried = []
    for fit in fits:
        scores, wanted = fit.scores((x_val - mean) / std).T[None, :, :, None], labels_val[None, :, None]
        given, cost = confusion(scores, wanted), float(loss("segmentation", scores, wanted))
        tried.append(
            Probed(fit.settings, {**figures("segmentation", judge("segmentation", given, given)), "loss": cost})
        )
    score = [(gain("segmentation", p.figures), -p.figures["loss"]) for p in tried]
    keep_fit(head.linear, fits[score.index(max(score))])
    return tried


def class_weights(dataset: Dataset, classes: int) -> Tensor:
    """(K,) weights in inverse proportion to the pixels of each class, of mean 1 over the pixels; 0 for absent ones."""
    counts = torch.zeros(classes)
    for batch in read_batches(dataset, None, "targets"):
        labels = pixel_labels(batch)
        counts += torch.bincount(labels[labels != IGNORED], minlength=classes)
    present = counts > 0
    return torch.where(present, counts.sum() / (present.sum() * counts.clamp_min(1)), 0.0)


def _balanced(labels: Tensor) -> Tensor:
    """Indices in which every class occurs equally often, again and again where it has too few."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    members = [order[labels[order] == c] for c in labels.unique()]
    each = torch.arange(-(-len(labels) // len(members)))
    return torch.cat([m[each % len(m)] for m in members])


@torch.no_grad()
def _cells(
    predictor: Predictor, head: PixelHead, dataset: Dataset, on_progress: OnProgress | None, what: str
) -> tuple[Tensor, Tensor]:
    """Features (M, C) of labelled cells and their classes (M,), as many from every image; on the CPU."""
    predictor.eval()
    draw, device = torch.Generator().manual_seed(0), next(predictor.parameters()).device
    each = max(1, -(-CELLS // len(dataset)))
    features, classes = [], []
    for batch in read_batches(dataset, on_progress, what):
        prepared = predictor.spec.prepare(batch.to(device))
        maps = side_by_side(head.read(predictor.encoder, prepared).maps).float().cpu()
        found = cell_classes(pixel_labels(batch), predictor.outputs, (maps.shape[-2], maps.shape[-1]))
        for image, codes in zip(maps.flatten(2), found.flatten(1), strict=True):
            known = (codes != IGNORED).nonzero()[:, 0]
            chosen = known[torch.randperm(len(known), generator=draw)[:each]]
            features.append(image[:, chosen].T)
            classes.append(codes[chosen])
    if not sum(map(len, classes)):
        raise DataError(f"no pixel behind the {what} has a label")
    return torch.cat(features), torch.cat(classes)


def cell_classes(labels: Tensor, classes: int, size: tuple[int, int]) -> Tensor:
    """(N, h, w) most frequent class of each cell's pixels; 255 where not half of them have a label.

    Args:
        labels: (N, H, W) class indices, 255 for none.
        classes: K.
        size: h and w.
    """
    planes = F.one_hot(torch.where(labels == IGNORED, classes, labels), classes + 1)[..., :classes]
    shares = F.adaptive_avg_pool2d(planes.permute(0, 3, 1, 2).float(), size)
    return torch.where(shares.sum(1) >= 0.5, shares.argmax(1), IGNORED)
