"""What fine-tuning starts from: the samples at one size, and a predictor with a new head."""

from __future__ import annotations

from collections import Counter

import torch

from ecotone.data import Cached, Dataset, open_dataset, with_masks
from ecotone.encoders import build_encoder
from ecotone.errors import DataError, RecipeError
from ecotone.heads import LinearHead, PixelHead, Predictor
from ecotone.heads.tasks import check_task
from ecotone.samples import collate
from ecotone.training.finetuning.probe import scaling_of
from ecotone.training.finetuning.scoring import label_of
from ecotone.training.finetuning.settings import FineTune
from ecotone.training.finetuning.subset import Subset, balanced, share_of_labels
from ecotone.training.resized import Resized
from ecotone.transforms import AnyTransform, Flip, QuarterTurn, RandomResizedCrop
from ecotone.weights import Model


def split_data(settings: FineTune, model: Model) -> tuple[FineTune, Dataset, Dataset]:
    """The train and val splits at one size, and the settings with what they left to the data.

    Raises:
        DataError: The data have no such splits, share samples between them, or no labels for a task with a head.
        RecipeError: A setting does not suit the task.
    """
    train, val = (
        with_masks(open_dataset(settings.data, split=s, sensor=settings.sensor, gsd=settings.gsd), settings.data)
        for s in ("train", "val")
    )
    task = check_task(train.info.task, train.info.classes)
    if task == "segmentation" and settings.mixup + settings.cutmix:
        raise RecipeError("mixup and cutmix mix the labels of whole images", found=task, expected="0 for both")
    shared = sorted(set(train.keys()) & set(val.keys()))
    if shared:
        raise DataError(f"train and val share {len(shared)} samples, such as {shared[0]}", mend="Make them disjoint.")
    chosen = share_of_labels(train.labels(), settings.labels, settings.seed, stratify=task == "classification")
    train = Subset(train, chosen)
    spec = model.encoder.spec
    size = settings.size or _common_size(train, next(iter(spec.roles)), spec.size_multiple, spec.min_size)
    train, val = (Resized(d, size) for d in (train, val))
    if settings.cache:
        train, val = Cached(train), Cached(val)
    if settings.balanced and task == "classification":
        train = Subset(train, balanced(train.labels()))
    transforms: list[AnyTransform] = [Flip(), QuarterTurn()]
    if spec.optical.gsd is None:  # a crop that is enlarged has a GSD of its own
        transforms.insert(0, RandomResizedCrop(size=size, scale=(0.5, 1.0)))
    update = {
        "size": size,
        "batch_size": min(settings.batch_size, len(train)),
        "lr": settings.peak,
        "layer_decay": settings.decay,
        "transforms": settings.transforms if settings.transforms is not None else transforms,
    }
    return settings.model_copy(update=update), train, val


def _common_size(dataset: Dataset, role: str, multiple: int, least: int, looks: int = 32) -> int:
    """The most frequent shorter side among some images, as the nearest multiple that the encoder takes."""
    step = max(1, len(dataset) // looks)
    sides = []
    for i in range(0, len(dataset), step):
        images = dataset[i].images
        if role not in images:
            raise DataError(f"the dataset has no {role} images", found=", ".join(images), expected=role)
        sides.append(min(images[role].pixels.shape[-2:]))
    side = Counter(sides).most_common(1)[0][0]
    return max(multiple, multiple * round(side / multiple), -(-least // multiple) * multiple)


def new_predictor(settings: FineTune, model: Model, train: Dataset) -> Predictor:
    """A predictor with a new head, its random numbers fixed by the seed."""
    torch.manual_seed(settings.seed)
    encoder, info = model.encoder, train.info
    if settings.from_scratch:
        encoder = build_encoder(encoder.kind, encoder.spec, encoder.readout, encoder.config())
    encoder.eval()
    probe = collate([train[0]])
    with torch.no_grad():
        seen = encoder(probe)
    task = check_task(info.task, info.classes)
    scaling = (0.0, 1.0)
    if task == "regression":
        scaling = scaling_of(torch.cat([label_of(collate([train[i]])) for i in range(len(train))]))
    if task == "segmentation":
        head = PixelHead(features=sum(m.shape[1] for m in seen.maps), outputs=len(info.classes))
    else:
        head = LinearHead(features=seen.pooled.shape[1], outputs=max(1, len(info.classes)))
    return Predictor(encoder, head, task, info.classes, scaling=scaling)
