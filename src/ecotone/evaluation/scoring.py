"""The two halves of an evaluation: choose on train and val, then read test once and score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecotone.evaluation.contestants import Contestant
from ecotone.evaluation.features import FeatureSet, Source, Standardiser, extract
from ecotone.evaluation.floors import CHANCE, majority, raw_pixels
from ecotone.evaluation.protocols import Classifier
from ecotone.evaluation.setup import Setup
from ecotone.evaluation.splits import Selection

FIT_IMAGES = 256  # train images that fitted floors look at


@dataclass(frozen=True)
class Outcome:
    """How one contestant did on every test sample.

    Attributes:
        contestant: Its name.
        floor: It owes nothing to pretraining.
        protocol: Name of the protocol.
        scale: Relative scale.
        correct: (N,) 1 for right and 0 for wrong; between them when several seeds or models are averaged.
        predictions: (N,) class indices of the first seed; None for an average of models.
        settings: For the row of the score.
    """

    contestant: str
    floor: bool
    protocol: str
    scale: float
    correct: NDArray[np.float64]
    predictions: Tensor | None
    settings: dict[str, Any]


@dataclass
class Fitted:
    """What the train images made: sources and standardisers by train scale, the classifiers, notes for the report."""

    sources: dict[float, dict[str, Sequence[Source]]] = field(default_factory=dict)
    standardisers: dict[tuple[str, float], list[Standardiser]] = field(default_factory=dict)
    classifiers: dict[tuple[str, str, float], list[Classifier]] = field(default_factory=dict)
    majority: int = 0
    warnings: list[str] = field(default_factory=list)


def select(setup: Setup) -> tuple[Selection, Fitted]:
    """Fit every contestant under every protocol on train and choose on val. The test split is not touched."""
    fitted = Fitted()
    classes = max(len(setup.classes), 1)
    for train_scale in dict.fromkeys(setup.plan.train_scale(s) for s in setup.scales()):
        fitted.sources[train_scale] = sources = _sources(setup, train_scale)
        view = setup.plan.train_view(train_scale)
        label = "train" if train_scale == 1 else f"train at {train_scale:g}"
        splits = (setup.splits.train, label), (setup.splits.val, label.replace("train", "val"))
        train, val = (extract(setup.reader, d, view, sources, setup.on_progress, what) for d, what in splits)
        labels = next(iter(train.values()))[0].labels
        fitted.majority, classes = majority(labels), max(classes, int(labels.max()) + 1)
        for contestant in setup.contestants:
            name = contestant.name
            pairs = list(zip(train[name], val[name], strict=True))
            standard = [Standardiser.of(t.features) for t, _ in pairs]
            fitted.standardisers[name, train_scale] = standard
            fitted.warnings += _constant_features(name, pairs[0][0])
            for p in setup.protocols:
                chosen = [
                    p.select(FeatureSet(s(t.features), t.labels), FeatureSet(s(v.features), v.labels), classes)
                    for s, (t, v) in zip(standard, pairs, strict=True)
                ]
                fitted.classifiers[name, p.name, train_scale] = chosen
                fitted.warnings += _not_converged(name, p.name, chosen)
    return Selection(setup.contract, fitted.classifiers), fitted


def score(setup: Setup, selection: Selection, fitted: Fitted) -> tuple[list[Outcome], dict[str, FeatureSet]]:
    """Read the test split at every scale and score it.

    Returns:
        The outcomes, and the encoders' standardised test features at the largest scale.
    """
    test = setup.splits.test_for(selection)
    outcomes: list[Outcome] = []
    embeddings: dict[str, FeatureSet] = {}
    for scale in setup.scales():
        train_scale = setup.plan.train_scale(scale)
        view = setup.plan.test_view(scale)
        what = f"test at {scale:g}"
        found = extract(setup.reader, test, view, fitted.sources[train_scale], setup.on_progress, what)
        for contestant in setup.contestants:
            standard = fitted.standardisers[contestant.name, train_scale]
            features = [
                FeatureSet(s(f.features), f.labels) for s, f in zip(standard, found[contestant.name], strict=True)
            ]
            outcomes += _outcomes(setup, contestant, features, scale, selection.classifiers)
            if not contestant.floor and contestant.name not in embeddings:
                embeddings[contestant.name] = features[0]
        if any(c.floor for c in setup.contestants):
            outcomes += _chance(setup, next(iter(found.values()))[0].labels, scale, fitted.majority)
    return outcomes + list(_mean_of_models(setup, outcomes)), embeddings


def _sources(setup: Setup, train_scale: float) -> dict[str, Sequence[Source]]:
    images = None
    if any(c.fitted for c in setup.contestants):
        generator = torch.Generator().manual_seed(0)
        picked = torch.randperm(len(setup.splits.train), generator=generator)[:FIT_IMAGES].sort().values.tolist()
        batches = setup.reader.batches(setup.splits.train, setup.plan.train_view(train_scale), picked)
        images = torch.cat([raw_pixels(b) for b in batches])
    return {c.name: c.sources(images) for c in setup.contestants}


def _outcomes(
    setup: Setup,
    contestant: Contestant,
    features: Sequence[FeatureSet],
    scale: float,
    classifiers: Mapping[tuple[str, str, float], Sequence[Classifier]],
) -> Iterator[Outcome]:
    for p in setup.protocols:
        chosen = classifiers[contestant.name, p.name, setup.plan.train_scale(scale)]
        predictions = [c.predict(f.features) for c, f in zip(chosen, features, strict=True)]
        right = [(y == f.labels).double().numpy() for y, f in zip(predictions, features, strict=True)]
        settings = {
            **contestant.settings,
            **(chosen[0].settings if len(chosen) == 1 else {"each_seed": [c.settings for c in chosen]}),
            "features": features[0].features.shape[1],
            **_input_settings(setup, scale),
        }
        yield Outcome(
            contestant.name, contestant.floor, p.name, scale, np.mean(right, axis=0), predictions[0], settings
        )


def _chance(setup: Setup, labels: Tensor, scale: float, answer: int) -> Iterator[Outcome]:
    predictions = torch.full_like(labels, answer)
    right = (predictions == labels).double().numpy()
    settings = {"answer": answer, **_input_settings(setup, scale)}
    for p in setup.protocols:
        yield Outcome(CHANCE, True, p.name, scale, right, predictions, settings)


def _mean_of_models(setup: Setup, outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
    """When several models are given, how they do on average on each test sample."""
    if len(setup.entrants) < 2:
        return
    names = [e.name for e in setup.entrants]
    for p in setup.protocols:
        for scale in setup.scales():
            each = [o for o in outcomes if o.contestant in names and (o.protocol, o.scale) == (p.name, scale)]
            right = np.mean([o.correct for o in each], axis=0)
            settings = {"models": names, **_input_settings(setup, scale)}
            yield Outcome(mean_name(len(names)), False, p.name, scale, right, None, settings)


def mean_name(models: int) -> str:
    """The name of the average of several models in tables and rows."""
    return f"mean of {models} models"


def _input_settings(setup: Setup, scale: float) -> dict[str, Any]:
    view = setup.plan.test_view(scale)
    gsd, effective = setup.pitches(view)
    return {
        "size": list(view.fed),
        "reduced": list(view.reduced),
        "gsd": gsd,
        "effective_gsd": effective,
        "gsd_source": setup.contract.gsd.source,
    }


def _constant_features(name: str, train: FeatureSet) -> list[str]:
    constant = int((train.features.std(0, correction=0) <= 1e-8).sum())
    width = train.features.shape[1]
    return [f"{name}: {constant} of {width} features are constant over the train images."] if constant else []


def _not_converged(name: str, protocol: str, chosen: Sequence[Classifier]) -> list[str]:
    lost = any(c.settings.get("converged") is False for c in chosen)
    return [f"{name}: the {protocol} head had not converged when its iterations ran out."] if lost else []
