"""Label efficiency: how a score grows with the share of train labels that a head may see."""

from __future__ import annotations

import torch
from torch import Tensor

from ecotone.evaluation.audits.base import Figure, Finding, figure, over_repeats, without_labels
from ecotone.evaluation.features import FeatureSet, Standardiser
from ecotone.evaluation.intervals import bootstrap
from ecotone.evaluation.protocols import Fitted, Protocol
from ecotone.evaluation.scoring import Preparation
from ecotone.evaluation.setup import Setup
from ecotone.evaluation.splits import Selection
from ecotone.metrics import METRICS

SHARES, SEEDS, LEAST = (0.01, 0.05, 0.1, 0.5, 1.0), 3, 10
NOTE = (
    "The main metric on the test split when heads see a part of the train labels. Parts are nested, stratified by "
    "class, and drawn by {seeds} seeds; val is whole at every share. Intervals cover the choice of test samples "
    "and of labels. Floors that need more than features are not part of it."
)


def labels(setup: Setup, selection: Selection, made: Preparation) -> Finding:
    """Score encoders and floors with 1, 5, 10, 50 and 100 % of the train labels."""
    parts, lost = _parts(setup)
    extraction, scale = without_labels(setup, made), max(setup.scales())
    train_scale = setup.plan.train_scale(scale)
    view = setup.plan.train_view(train_scale)
    train = extraction.features(setup.splits.train, "train", view, view)
    val = extraction.features(setup.splits.val, "val", view, view)
    chosen: dict[tuple[str, str, float], list[Fitted]] = {}
    for c in extraction.setup.contestants:
        standard = made.standardisers[c.name, train_scale][0]
        sets = _standardised(standard, train[c.name][0]), _standardised(standard, val[c.name][0])
        for p in setup.protocols:
            for share, drawn in parts.items():
                chosen[c.name, p.name, share] = [_fit(setup, p, *sets, index) for index in drawn]
    # All choices are made: only now is the test split read.
    dataset = setup.splits.test_for(Selection(setup.contract, chosen))
    test = extraction.features(dataset, "test", setup.plan.test_view(scale), view)
    figures: list[Figure] = []
    for c in extraction.setup.contestants:
        asked = _standardised(made.standardisers[c.name, train_scale][0], test[c.name][0])
        for p in setup.protocols:
            metric = METRICS[setup.metrics[p.name][0]]
            for share, drawn in parts.items():
                statistics = [metric.of(f.answer(asked)) for f in chosen[c.name, p.name, share]]
                found = over_repeats(bootstrap(statistics, len(asked.labels), setup.contract.interval), 0)
                detail = f"{len(drawn[0])} labels"
                figures.append(figure(setup, c, p.name, f"{100 * share:g} %", found, split="test", detail=detail))
    return Finding(
        name="labels",
        title="Label efficiency",
        note=NOTE.format(seeds=SEEDS),
        settings={"shares": list(parts), "seeds": SEEDS, "least": LEAST, "scale": scale},
        figures=figures,
        warnings=lost,
    )


def _parts(setup: Setup) -> tuple[dict[float, list[Tensor]], list[str]]:
    """Share -> indices into train, one set for each seed; and a sentence on the shares that are too small."""
    # The training loop takes seconds to import, and only this audit needs a part of it.
    from ecotone.training.finetuning.subset import share_of_labels

    written, stratify = setup.splits.train.labels(), setup.task.name == "classification"
    found, lost = {}, []
    for share in SHARES:
        seeds = range(SEEDS if share < 1 else 1)
        drawn = [torch.tensor(share_of_labels(written, share, seed, stratify=stratify)) for seed in seeds]
        if len(drawn[0]) < LEAST:
            lost.append(f"{100 * share:g} % of the labels are fewer than {LEAST}: left out of the label efficiency.")
        else:
            found[share] = drawn
    return found, lost


def _standardised(standard: Standardiser, features: FeatureSet) -> FeatureSet:
    return FeatureSet(standard(features.features), features.labels)


def _fit(setup: Setup, protocol: Protocol, train: FeatureSet, val: FeatureSet, index: Tensor) -> Fitted:
    return protocol.select(FeatureSet(train.features[index], train.labels[index]), val, setup.task)
