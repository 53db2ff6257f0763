"""Features of a split at one scale, for all contestants in one pass over the images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ecotone.data.base import Dataset
from ecotone.encoders import Encoder
from ecotone.errors import DataError
from ecotone.evaluation.gsd_policy import Telling
from ecotone.evaluation.scales import Size, View
from ecotone.samples import Batch, Sample, collate
from ecotone.transforms import resize_sample

Source = Callable[[Batch], Tensor]  # a raw batch -> (N, D)
Progress = Callable[[str, int, int], None]  # what is being done, images done, images in all


@dataclass(frozen=True)
class FeatureSet:
    """Features (N, D) float32, and labels: class indices (N,) int64, zeros and ones (N, C) or values (N,) float32."""

    features: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Standardiser:
    """Mean and standard deviation (D,) of train features; a constant feature is centred and not divided."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Standardiser:
        std = features.std(0, correction=0)
        return cls(features.mean(0), torch.where(std > 1e-8, std, 1.0))

    @classmethod
    def none(cls, features: Tensor) -> Standardiser:
        """Leaves features as they are."""
        return cls(torch.zeros(features.shape[1]), torch.ones(features.shape[1]))

    def __call__(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.std


@dataclass(frozen=True)
class Reader:
    """Batches of raw images of one size, with a GSD.

    Attributes:
        roles: Roles that the encoders read; others are left out.
        size: Height and width at scale 1; images of another size are resized to it first (area), and their GSD with
            them.
        assumed_gsd: Metres per pixel for images that do not say; None leaves it unknown.
        batch_size: Images in a batch.
        resized: Keys of the images that had another size, filled while reading.
    """

    roles: tuple[str, ...]
    size: Size
    assumed_gsd: float | None = None
    batch_size: int = 64
    resized: set[str] = field(default_factory=set)

    def batches(self, dataset: Dataset, view: View, indices: Sequence[int] | None = None) -> Iterator[Batch]:
        """Batches in the order of ``indices``, or of the dataset.

        Raises:
            DataError: An image cannot be read, or lacks a role.
        """
        order = range(len(dataset)) if indices is None else indices
        for start in range(0, len(order), self.batch_size):
            samples = [self.fit(dataset[i]) for i in order[start : start + self.batch_size]]
            batch = collate(samples)
            yield batch.replace_images(**{role: view.apply(image) for role, image in batch.images.items()})

    def fit(self, sample: Sample) -> Sample:
        """The sample with the roles and the size that are read, and with a GSD.

        Raises:
            DataError: It lacks a role.
        """
        images = {}
        for role in self.roles:
            if role not in sample.images:
                raise DataError(f"{sample.key} has no {role} image", found=", ".join(sample.images), expected=role)
            image = sample.images[role]
            if image.gsd is None and self.assumed_gsd is not None:
                image = replace(image, gsd=self.assumed_gsd, effective_gsd=self.assumed_gsd)
            images[role] = image
        sample = replace(sample, images=images)
        fitted = resize_sample(sample, self.size, "area")
        if fitted is not sample:
            self.resized.add(sample.key)
        return fitted


@torch.inference_mode()
def extract(
    reader: Reader,
    dataset: Dataset,
    view: View,
    sources: Mapping[str, Sequence[Source]],
    on_progress: Progress | None = None,
    what: str = "",
) -> dict[str, list[FeatureSet]]:
    """Features of every source, in the dataset's order.

    Args:
        reader: Gives the batches.
        dataset: One split.
        view: What is done to the images.
        sources: Contestant -> one source for each of its seeds.
        on_progress: Told after every batch.
        what: What to tell it.

    Raises:
        DataError: A feature is not finite; the contestant and the image are named.
    """
    columns: dict[str, list[list[Tensor]]] = {name: [[] for _ in members] for name, members in sources.items()}
    labels: list[Tensor] = []
    for batch in reader.batches(dataset, view):
        labels.append(labels_of(batch))
        for name, members in sources.items():
            for column, source in zip(columns[name], members, strict=True):
                column.append(_checked(name, source(batch), batch))
        if on_progress:
            on_progress(what, sum(map(len, labels)), len(dataset))
    target = torch.cat(labels)
    return {name: [FeatureSet(torch.cat(c), target) for c in members] for name, members in columns.items()}


def encode(encoder: Encoder, tell: Telling = Telling()) -> Source:  # noqa: B008 - frozen
    """An encoder as a source: its pooled features, float32, on the CPU; ``tell`` says which GSD it is told."""
    device = device_of(encoder)
    encoder.eval()
    return lambda batch: encoder(tell(batch).to(device)).pooled.float().cpu()


def device_of(encoder: Encoder) -> torch.device:
    """Where an encoder computes."""
    return next((p.device for p in encoder.parameters()), torch.device("cpu"))


def labels_of(batch: Batch) -> Tensor:
    """Labels of a batch: int64, or float32 zeros and ones or values.

    Raises:
        DataError: There are none.
    """
    labels = batch.targets.get("label")
    if not isinstance(labels, Tensor):
        raise DataError("the samples have no label", found=", ".join(batch.targets) or "no targets", expected="label")
    return labels.float() if labels.is_floating_point() else labels.long()


def _checked(name: str, features: Tensor, batch: Batch) -> Tensor:
    finite = features.isfinite().all(1)
    if not finite.all():
        key = batch.keys[int((~finite).nonzero()[0])]
        raise DataError(
            f"{name} gives features that are not finite for {key}",
            mend="Check the image and the model's normaliser: a score over such features would be silent nonsense.",
        )
    return features.float()
