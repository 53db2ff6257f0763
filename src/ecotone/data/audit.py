"""Audit of a dataset and its splits: near-duplicates within and across them, and the balance of classes in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

from ecotone.data.base import Dataset
from ecotone.data.duplicates import CORRELATION, RADIUS, Fingerprints, Pair, fingerprints, near_duplicates
from ecotone.data.inspection import class_counts, paste_sheet, thumbnail

ORDER = ("train", "val", "test")
PAIRS_SHOWN = 48
DISTANCE = 0.1  # between the class shares of two splits, above which a reader is told


@dataclass(frozen=True)
class Twins:
    """A pair of near-duplicates.

    Attributes:
        keys: Of the two samples.
        splits: Of the two samples.
        labels: As written; where they differ, one is wrong.
        distance: Bits of 64 in which their hashes differ.
        correlation: Of their pixels.
    """

    keys: tuple[str, str]
    splits: tuple[str, str]
    labels: tuple[str, str]
    distance: int
    correlation: float


@dataclass(frozen=True)
class Overlap:
    """How many samples of a split have a near-duplicate in an earlier split, or elsewhere in their own."""

    split: str
    against: str
    images: int
    of: int


@dataclass(frozen=True)
class Balance:
    """How the classes are spread in a split.

    Attributes:
        samples: In the split.
        absent: Classes without a sample.
        ratio: Samples of the largest class over those of the smallest one that occurs.
        distance: Half the sum of the differences between its class shares and those of train, 0 to 1; None for train.
    """

    samples: int
    absent: list[str]
    ratio: float | None
    distance: float | None


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        name: Name of the dataset.
        twins: Near-duplicates, the most alike first.
        overlaps: Counts of them for every two splits, and within each.
        balance: Split -> how its classes are spread.
        classes: Class -> split -> samples.
        featureless: Keys of images that hold one value everywhere; they are not compared.
        broken: Key -> why the image could not be read.
        rule: What counts as a near-duplicate.
        pairs: The near-duplicates by index, for pictures.
    """

    name: str
    twins: list[Twins]
    overlaps: list[Overlap]
    balance: dict[str, Balance]
    classes: dict[str, dict[str, int]]
    featureless: list[str]
    broken: dict[str, str]
    rule: dict[str, float]
    pairs: list[Pair]

    @property
    def leaks(self) -> int:
        """Pairs whose samples lie in two splits."""
        return sum(t.splits[0] != t.splits[1] for t in self.twins)

    def warnings(self) -> list[str]:
        """What a reader of scores on these splits should know, a sentence each."""
        found = self.about_twins()
        for split, b in self.balance.items():
            if b.absent:
                found.append(f"Classes absent from {split}: {', '.join(b.absent)}.")
            if b.distance is not None and b.distance > DISTANCE:
                found.append(f"The class shares of {split} are {b.distance:.2f} away from those of train.")
        if self.broken:
            found.append(f"{len(self.broken)} images cannot be read, such as {next(iter(self.broken))}.")
        return found

    def about_twins(self) -> list[str]:
        """The warnings that only a comparison of the images can give."""
        found = [
            f"{o.images} of {o.of} {o.split} images ({o.images / o.of:.1%}) have a near-duplicate in {o.against}."
            for o in self.overlaps
            if o.images and o.split != o.against
        ]
        torn = [t for t in self.twins if t.labels[0] != t.labels[1]]
        if torn:
            found.append(f"{len(torn)} near-duplicates have two labels, such as {' and '.join(torn[0].keys)}.")
        if self.featureless:
            found.append(f"{len(self.featureless)} images hold one value everywhere, such as {self.featureless[0]}.")
        return found

    def to_dict(self) -> dict[str, Any]:
        """The content of the JSON file."""
        content = {k: v for k, v in asdict(self).items() if k != "pairs"}
        return {**content, "leaks": self.leaks, "warnings": self.warnings()}


def audit(
    dataset: Dataset,
    *,
    radius: int = RADIUS,
    correlation: float = CORRELATION,
    follow: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> Audit:
    """Audit a dataset of all splits; every image is read once, those of candidate pairs again.

    Args:
        dataset: With the splits of its samples.
        radius: Bits of 64 in which the hashes of near-duplicates may differ.
        correlation: Least correlation of the pixels of near-duplicates.
        follow: Goes through the samples and may show progress.
    """
    found = fingerprints(dataset, follow)
    pairs = near_duplicates(dataset, found, radius=radius, correlation=correlation)
    return describe(dataset, found, pairs, {"hash_bits": radius, "correlation": correlation})


def describe(dataset: Dataset, found: Fingerprints, pairs: list[Pair], rule: dict[str, float]) -> Audit:
    """What fingerprints and near-duplicates say of a dataset; no image is read."""
    keys, splits, labels = dataset.keys(), dataset.splits(), dataset.labels()
    classes = class_counts(dataset)

    def both(values: Sequence[str], pair: Pair) -> tuple[str, str]:
        return values[pair.first], values[pair.second]

    return Audit(
        name=dataset.info.name,
        twins=[Twins(both(keys, p), both(splits, p), both(labels, p), p.distance, p.correlation) for p in pairs],
        overlaps=_overlaps(splits, pairs),
        balance=_balances(Counter(splits), classes),
        classes=classes,
        featureless=[keys[i] for i in found.featureless],
        broken={keys[i]: why for i, why in found.broken.items()},
        rule=rule,
        pairs=pairs,
    )


def twins_sheet(dataset: Dataset, found: Audit, path: str | Path) -> Path:
    """Write a PNG of near-duplicates side by side, those across splits first.

    Raises:
        DataError: There are none, or the file cannot be written.
    """
    order = sorted(range(len(found.pairs)), key=lambda i: found.twins[i].splits[0] == found.twins[i].splits[1])
    shown = [found.pairs[i] for i in order[:PAIRS_SHOWN]]
    pictures = [thumbnail(dataset[i]) for p in shown for i in (p.first, p.second)]
    return paste_sheet(pictures, path, f"{found.name} has no near-duplicates to show")


def _order(splits: Iterable[str]) -> list[str]:
    return sorted(splits, key=lambda s: (ORDER.index(s) if s in ORDER else len(ORDER), s))


def _overlaps(splits: Sequence[str], pairs: Sequence[Pair]) -> list[Overlap]:
    count = Counter(splits)
    touched: dict[tuple[str, str], set[int]] = {}
    for p in pairs:
        for mine, other in ((p.first, p.second), (p.second, p.first)):
            touched.setdefault((splits[mine], splits[other]), set()).add(mine)
    return [
        Overlap(later, earlier, len(touched.get((later, earlier), ())), count[later])
        for earlier, later in combinations_with_replacement(_order(count), 2)
    ]


def _balances(samples: Mapping[str, int], classes: Mapping[str, Mapping[str, int]]) -> dict[str, Balance]:
    counts = {s: [by_split.get(s, 0) for by_split in classes.values()] for s in _order(samples)}
    train = counts.get("train")
    return {
        split: Balance(
            samples[split],
            [name for name, n in zip(classes, each, strict=True) if not n],
            max(each) / min(n for n in each if n) if any(each) else None,
            _distance(each, train) if train and split != "train" else None,
        )
        for split, each in counts.items()
    }


def _distance(a: Sequence[int], b: Sequence[int]) -> float:
    return sum(abs(x / max(1, sum(a)) - y / max(1, sum(b))) for x, y in zip(a, b, strict=True)) / 2
