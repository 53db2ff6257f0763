"""The train and val images of one view, for floors that look at them; nothing is read that no floor asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ecotone.data.base import Dataset
from ecotone.evaluation.features import Progress, Reader, labels_of
from ecotone.evaluation.floors import raw_pixels
from ecotone.evaluation.scales import View
from ecotone.evaluation.splits import Splits
from ecotone.samples import Batch

Labelled = tuple[Tensor, Tensor]  # pixels (N, C, H, W), and labels as datasets give them
FIT_IMAGES = 256  # train images that floors without labels look at


@dataclass
class Fitting:
    """What floors may learn from.

    Attributes:
        splits: Of which train and val are read.
        reader: Gives the batches.
        view: What is done to the train images.
        on_progress: Told of progress.
    """

    splits: Splits
    reader: Reader
    view: View
    on_progress: Progress | None = None

    @cached_property
    def images(self) -> Tensor:
        """(M, C, H, W) raw pixels of up to ``FIT_IMAGES`` train images, drawn with a fixed seed."""
        generator = torch.Generator().manual_seed(0)
        picked = torch.randperm(len(self.splits.train), generator=generator)[:FIT_IMAGES].sort().values.tolist()
        return torch.cat([raw_pixels(b) for b in self.reader.batches(self.splits.train, self.view, picked)])

    def labelled(self, pixels: Callable[[Batch], Tensor], what: str) -> tuple[Labelled, Labelled]:
        """Pixels and labels of the whole train split, and of the whole val split, for ``what``."""
        train, val = self.splits.train, self.splits.val
        return self._whole(train, f"train {what}", pixels), self._whole(val, f"val {what}", pixels)

    def _whole(self, dataset: Dataset, what: str, pixels: Callable[[Batch], Tensor]) -> Labelled:
        found, labels = [], []
        for batch in self.reader.batches(dataset, self.view):
            found.append(pixels(batch))
            labels.append(labels_of(batch))
            if self.on_progress:
                self.on_progress(what, sum(map(len, labels)), len(dataset))
        return torch.cat(found), torch.cat(labels)
