"""The three splits of a dataset; the test split stays shut until every choice on val is final."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecotone.data import open_dataset
from ecotone.data.base import Dataset, DatasetInfo
from ecotone.errors import DataError
from ecotone.evaluation.cache import content_hash, files_hash
from ecotone.evaluation.contract import Contract
from ecotone.evaluation.protocols import Fitted
from ecotone.evaluation.tasks import task_of

NAMES = ("train", "val", "test")


@dataclass(frozen=True)
class Selection:
    """Every choice that was made on train and val, with the contract it was made under.

    Attributes:
        contract: The frozen settings.
        heads: (contestant, protocol, train scale) -> one fitted protocol for each seed.
    """

    contract: Contract
    heads: Mapping[tuple[str, str, float], Sequence[Fitted]]


class Splits:
    """Train, val and test of one dataset, checked not to overlap.

    Args:
        datasets: ``train``, ``val`` and ``test``.
        files: Hash of the files they are read from and of how; None for datasets that are open already.
        content: SHA-256 of what is in these files.

    Raises:
        DataError: A split is missing or empty, has no labels, or shares samples with another.
    """

    def __init__(self, datasets: Mapping[str, Dataset], files: str | None = None, content: str | None = None) -> None:
        for name in NAMES:
            if name not in datasets or not len(datasets[name]):
                raise DataError(
                    f"the dataset has no {name} split",
                    found=", ".join(n for n, d in datasets.items() if len(d)) or "no samples",
                    expected=", ".join(NAMES),
                    mend="Name the splits in the third column of manifest.csv.",
                )
        self.train, self.val, self._test = (datasets[n] for n in NAMES)
        self.files, self.content = files, content
        self.task = task_of(self.info)
        self.n = {name: len(datasets[name]) for name in NAMES}
        self._check_labels()
        self._check_overlap()

    @property
    def info(self) -> DatasetInfo:
        return self.train.info

    def test_for(self, selection: Selection) -> Dataset:
        """The test split, for one who has finished choosing."""
        if not isinstance(selection, Selection):
            raise DataError("the test split opens only to a final selection", found=type(selection).__name__)
        return self._test

    def manifest_hash(self) -> str:
        """SHA-256 of all keys with their labels, whatever their order and split."""
        pairs = sorted(p for d in self._all() for p in zip(d.keys(), d.labels(), strict=True))
        return _digest(pairs)

    def split_hash(self) -> str:
        """SHA-256 of which key belongs to which split, in order: the draws of the bootstrap and ties follow it."""
        return _digest({n: list(d.keys()) for n, d in zip(NAMES, self._all(), strict=True)})

    def _all(self) -> tuple[Dataset, Dataset, Dataset]:
        return self.train, self.val, self._test

    def _check_labels(self) -> None:
        for name, dataset in zip(NAMES, self._all(), strict=True):
            blank = [k for k, label in zip(dataset.keys(), dataset.labels(), strict=True) if not label]
            if blank and self.task.needs_label:
                raise DataError(
                    f"{len(blank)} samples of the {name} split have no label, such as {blank[0]}",
                    mend="Fill the label column of manifest.csv.",
                )
            if len(blank) == len(dataset):
                raise DataError(f"no sample of the {name} split has any class", mend="Split the samples anew.")

    def _check_overlap(self) -> None:
        for i, first in enumerate(NAMES):
            for second in NAMES[i + 1 :]:
                a, b = (self._all()[NAMES.index(n)] for n in (first, second))
                shared = sorted(set(a.keys()) & set(b.keys()))
                if shared:
                    raise DataError(
                        f"the splits {first} and {second} share {len(shared)} samples, such as {shared[0]}",
                        mend="Make the splits disjoint: a score on training samples proves nothing.",
                    )

    def warnings(self) -> list[str]:
        """What a reader of the scores should know about these splits."""
        return self.task.warnings(self.train.labels(), self._test.labels())


def open_splits(
    data: str | Path | Mapping[str, Dataset], *, gsd: float | None = None, sensor: str | None = None
) -> Splits:
    """The splits of a dataset folder, or of datasets that are open already."""
    if isinstance(data, Mapping):
        return Splits(data)
    opened = {name: open_dataset(data, split=name, gsd=gsd, sensor=sensor) for name in NAMES}
    return Splits(opened, _digest([files_hash(data), gsd, sensor]), content_hash(data))


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
