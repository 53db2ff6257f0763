"""Part of a dataset, or some of its samples more than once."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch

from ecotone.data import Dataset, modalities_of
from ecotone.modalities import Modality
from ecotone.randomness import stream_seeds
from ecotone.samples import Sample


class Subset:
    """The samples of a dataset at these indices, which may repeat."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.info, self._dataset, self.indices = dataset.info, dataset, list(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self._dataset[self.indices[index]]

    @property
    def modalities(self) -> Mapping[str, Modality]:
        return modalities_of(self._dataset)

    def keys(self) -> Sequence[str]:
        return self._pick(self._dataset.keys())

    def labels(self) -> Sequence[str]:
        return self._pick(self._dataset.labels())

    def splits(self) -> Sequence[str]:
        return self._pick(self._dataset.splits())

    def _pick(self, values: Sequence[str]) -> list[str]:
        return [values[i] for i in self.indices]


def share_of_labels(labels: Sequence[str], share: float, seed: int, *, stratify: bool = True) -> list[int]:
    """Indices of a share of the samples, ascending.

    Args:
        labels: One for each sample.
        share: Of each label's samples; rounded, and at least one. A smaller share is part of a larger one.
        seed: Chooses them.
        stratify: False takes the share of all samples together, for labels that are numbers or many words.
    """
    order = torch.argsort(stream_seeds(seed, 0, torch.arange(len(labels))), stable=True).tolist()
    groups: dict[str, list[int]] = defaultdict(list)
    for i in order:
        groups[str(labels[i]) if stratify else ""].append(i)
    return sorted(i for members in groups.values() for i in members[: max(1, math.floor(share * len(members) + 0.5))])


def balanced(labels: Sequence[str]) -> list[int]:
    """Indices in which every label occurs as often as the most frequent one does."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, label in enumerate(labels):
        groups[label].append(i)
    most = max(map(len, groups.values()))
    return sorted(members[i % len(members)] for members in groups.values() for i in range(most))
