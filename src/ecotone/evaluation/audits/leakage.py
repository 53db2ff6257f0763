"""The leakage gap: how much a random split flatters a score, against a split by spatial blocks of the same samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ecotone.evaluation.audits.base import Figure, Finding, choice, figure, over_repeats, without_labels
from ecotone.evaluation.audits.places import block_folds, places, spatial_blocks
from ecotone.evaluation.features import FeatureSet
from ecotone.evaluation.intervals import COUNTS, Estimate, bootstrap
from ecotone.evaluation.protocols import Protocol
from ecotone.evaluation.scoring import Preparation
from ecotone.evaluation.setup import Setup
from ecotone.metrics import METRICS, Answers, Array, Statistic

FOLDS, BLOCKS, REPEATS = 5, 20, 3
SPATIAL, RANDOM = "spatial blocks", "random split"
NOTE = (
    "Train and val samples, cross-validated in {folds} folds of equal size: random folds, and folds of whole blocks of "
    "{side:.3g} km, {repeats} times each. Regularisation and number of neighbours are chosen once in each repeat, "
    "where its first fold is asked, and stand below; the next fold chooses them and sets thresholds. The difference is "
    "what neighbours in train give away; its interval is a paired bootstrap over blocks and repeats. The test split "
    "takes no part."
)


def leakage(setup: Setup, made: Preparation) -> Finding:
    """Score the same samples under random folds and under folds of spatial blocks.

    Raises:
        DataError: The samples lie in too few places.
    """
    where = torch.cat([places(setup.splits.train), places(setup.splits.val)])
    known = where.isfinite().all(1)
    block, side = spatial_blocks(where[known], BLOCKS)
    folds = {
        SPATIAL: [block_folds(block, FOLDS, seed) for seed in range(REPEATS)],
        RANDOM: [random_folds(len(block), seed) for seed in range(REPEATS)],
    }
    lost = int((~known).sum())
    return Finding(
        name="leakage",
        title="Spatial blocks against a random split",
        note=NOTE.format(folds=FOLDS, side=side, repeats=REPEATS),
        settings={
            "folds": FOLDS,
            "repeats": REPEATS,
            "block_km": side,
            "blocks": int(block.max()) + 1,
            "samples": len(block),
        },
        figures=_figures(setup, made, known, block, folds),
        warnings=[f"{lost} samples without a known place are left out of the leakage audit."] if lost else [],
    )


def _figures(
    setup: Setup, made: Preparation, known: Tensor, block: Tensor, folds: dict[str, list[Tensor]]
) -> list[Figure]:
    scale = setup.plan.train_scale(max(setup.scales()))
    view, found = setup.plan.train_view(scale), []
    extraction = without_labels(setup, made)
    train, val = (
        extraction.features(d, name, view, view)
        for name, d in (("train", setup.splits.train), ("val", setup.splits.val))
    )
    for contestant in extraction.setup.contestants:
        pool = _joined(train[contestant.name][0], val[contestant.name][0], known)
        for p in setup.protocols:
            metric = METRICS[setup.metrics[p.name][0]]
            answers = {kind: [cross_answers(setup, p, pool, f) for f in each] for kind, each in folds.items()}
            each = _over_blocks(setup, [metric.of(a) for kind in answers.values() for a, _ in kind], block)
            spatial, random = over_repeats(each[:REPEATS], 0), over_repeats(each[REPEATS:], 1)
            for kind, estimate, reference in ((SPATIAL, spatial, None), (RANDOM, random, spatial)):
                told = {"split": "train and val", "detail": ", ".join(dict.fromkeys(said for _, said in answers[kind]))}
                found.append(figure(setup, contestant, p.name, kind, estimate, **told, reference=reference))
    return found


def random_folds(samples: int, seed: int) -> Tensor:
    """(N,) fold of every sample, at random and of equal size."""
    return torch.randperm(samples, generator=torch.Generator().manual_seed(seed)) % FOLDS


def _joined(train: FeatureSet, val: FeatureSet, known: Tensor) -> FeatureSet:
    return FeatureSet(torch.cat([train.features, val.features])[known], torch.cat([train.labels, val.labels])[known])


def cross_answers(setup: Setup, protocol: Protocol, pool: FeatureSet, fold: Tensor) -> tuple[Answers, str]:
    """Answers for every sample by a protocol that was fitted on the other folds, the next of which made the choices.

    What is chosen where the first fold is asked holds for all: a grid for every fold would cost several times as much.

    Args:
        setup: The evaluation.
        protocol: The protocol.
        pool: N features and labels, not standardised.
        fold: (N,) fold of every sample, 0 to FOLDS - 1.

    Returns:
        The answers, and what was chosen, in words.
    """
    parts, order, settings = [], [], {}
    for asked in range(FOLDS):
        train, val, test = _sets(setup, pool, fold, asked)
        fitted = protocol.select(train, val, setup.task)
        if not asked:
            settings, protocol = fitted.settings, protocol.fixed(fitted.settings)
        parts.append(fitted.answer(test))
        order.append((fold == asked).nonzero().squeeze(1))
    return _in_order(parts, torch.cat(order).argsort()), choice(settings)


def _sets(setup: Setup, pool: FeatureSet, fold: Tensor, asked: int) -> list[FeatureSet]:
    """Standardised train, val and test: all folds but two, the next, and the one that is asked."""
    chooses = (asked + 1) % FOLDS
    parts = (fold != asked) & (fold != chooses), fold == chooses, fold == asked
    standard = setup.standardiser(pool.features[parts[0]])
    return [FeatureSet(standard(pool.features[part]), pool.labels[part]) for part in parts]


def _in_order(parts: Sequence[Answers], order: Tensor) -> Answers:
    def whole(tensors: Sequence[Tensor | None]) -> Tensor | None:
        present = [t for t in tensors if t is not None]
        return torch.cat(present)[order] if present else None

    truth = whole([a.truth for a in parts])
    assert truth is not None
    each = {name: torch.cat([a.each[name] for a in parts])[order] for name in parts[0].each}
    return Answers(truth, whole([a.decisions for a in parts]), whole([a.scores for a in parts]), each)


def _over_blocks(setup: Setup, statistics: Sequence[Statistic], block: Tensor) -> list[Estimate]:
    """Estimates whose draws take whole blocks: samples of one block are no independent evidence."""
    index = block.numpy()

    def clustered(statistic: Statistic) -> Statistic:
        def of(counts: Array) -> Array:
            step = max(1, COUNTS // len(index))
            return np.concatenate([statistic(counts[i : i + step, index]) for i in range(0, len(counts), step)])

        return of

    return bootstrap([clustered(s) for s in statistics], int(index.max()) + 1, setup.contract.interval)
