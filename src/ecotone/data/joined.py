"""Several datasets as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

from ecotone.data.base import Dataset
from ecotone.samples import Sample


class Joined:
    """The samples of several datasets, one after another; each dataset's name is the split of its samples.

    Args:
        parts: Split -> its samples.
    """

    def __init__(self, parts: Mapping[str, Dataset]) -> None:
        self.info = next(iter(parts.values())).info
        self._parts = dict(parts)
        self._ends = list(accumulate(map(len, parts.values())))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        part = bisect_right(self._ends, index)
        return list(self._parts.values())[part][index - (self._ends[part - 1] if part else 0)]

    def keys(self) -> Sequence[str]:
        return [key for part in self._parts.values() for key in part.keys()]  # noqa: SIM118 - no mapping

    def labels(self) -> Sequence[str]:
        return [label for part in self._parts.values() for label in part.labels()]

    def splits(self) -> Sequence[str]:
        return [name for name, part in self._parts.items() for _ in range(len(part))]
