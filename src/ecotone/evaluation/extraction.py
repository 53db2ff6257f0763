"""Features of all contestants on a split: from the cache where it has them, else in one pass over the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from ecotone.data.base import Dataset
from ecotone.evaluation.contestants import Contestant
from ecotone.evaluation.features import FeatureSet, Source, extract
from ecotone.evaluation.fitting import FIT_IMAGES, Fitting
from ecotone.evaluation.scales import View
from ecotone.evaluation.setup import Setup


@dataclass
class Extraction:
    """Gives features, and keeps the sources that the train images of one view made for all others.

    Attributes:
        setup: The evaluation.
        sources: Train view -> contestant -> one source for each seed.
    """

    setup: Setup
    sources: dict[View, dict[str, Sequence[Source]]] = field(default_factory=dict)

    def features(self, dataset: Dataset, split: str, view: View, train_view: View) -> dict[str, list[FeatureSet]]:
        """Contestant -> features of a split, one for each seed.

        Args:
            dataset: The split's samples.
            split: Its name.
            view: What is done to its images.
            train_view: What is done to the train images, which fitted floors look at.
        """
        facts = {c.name: self._facts(c, split, view, train_view) for c in self.setup.contestants}
        kept = {name: self._load(each, dataset) for name, each in facts.items()}
        missing = [c for c in self.setup.contestants if kept[c.name] is None]
        fresh: Mapping[str, list[FeatureSet]] = {}
        if missing:
            sources = self._sources(missing, train_view)
            what = split if view.scale == 1 else f"{split} at {view.scale:g}"
            fresh = extract(self.setup.reader, dataset, view, sources, self.setup.on_progress, what)
        for name, found in fresh.items():
            self._save(facts[name], found, dataset)
        return {name: fresh.get(name) or found or [] for name, found in kept.items()}

    def _sources(self, contestants: Sequence[Contestant], train_view: View) -> dict[str, Sequence[Source]]:
        setup, have = self.setup, self.sources.setdefault(train_view, {})
        new = [c for c in contestants if c.name not in have]
        fitting = Fitting(setup.splits, setup.reader, train_view, setup.on_progress)
        have |= {c.name: c.sources(fitting) for c in new}
        return {c.name: have[c.name] for c in contestants}

    def _facts(self, contestant: Contestant, split: str, view: View, train_view: View) -> list[dict[str, Any]]:
        """What the features of each seed depend on, besides the data."""
        reader = self.setup.reader
        common: dict[str, Any] = {
            "split": split,
            "view": asdict(view),
            "roles": reader.roles,
            "size": reader.size,
            "assumed_gsd": reader.assumed_gsd,
            "batch_size": reader.batch_size,  # another one may change the last bit
        }
        if contestant.fitted:
            common |= {"train_view": asdict(train_view), "fit_images": FIT_IMAGES}
        return [{**common, "source": identity} for identity in contestant.identities]

    def _load(self, facts: Sequence[Mapping[str, Any]], dataset: Dataset) -> list[FeatureSet] | None:
        cache, sets = self.setup.cache, []
        resized: list[int] = []
        if cache is None:
            return None
        for each in facts:
            found = cache.load(each)
            if found is None:
                return None
            sets.append(FeatureSet(found["features"], found["labels"]))
            resized += found["resized"].tolist()
        keys = dataset.keys()
        self.setup.reader.resized.update(keys[i] for i in resized)
        return sets

    def _save(self, facts: Sequence[Mapping[str, Any]], found: Sequence[FeatureSet], dataset: Dataset) -> None:
        if self.setup.cache is None:
            return
        odd = self.setup.reader.resized
        resized = torch.tensor([i for i, key in enumerate(dataset.keys()) if key in odd], dtype=torch.int64)
        for each, features in zip(facts, found, strict=True):
            tensors = {"features": features.features, "labels": features.labels, "resized": resized}
            self.setup.cache.save(each, tensors)
