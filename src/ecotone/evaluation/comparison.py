"""Models against each other over the same test samples: paired intervals, and verdicts that allow for many pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

from ecotone.evaluation.intervals import Estimate
from ecotone.metrics import METRICS

ENOUGH = 100  # test samples below which no verdict is given
Answer = Literal["better", "worse", "level", "n too small"]


@dataclass(frozen=True)
class Scored:
    """The main metric of one model under one protocol at one scale, with its bootstrap draws."""

    encoder: str
    protocol: str
    scale: float
    metric: str
    estimate: Estimate


@dataclass(frozen=True)
class Pair:
    """One model minus another over the same test samples.

    Attributes:
        encoder: The first model.
        against: The second.
        protocol: Name of the protocol.
        scale: Relative scale.
        metric: The main metric.
        value: Difference of the two scores.
        ci95: Its paired interval, of this pair alone.
        p: Two-sided p-value of this pair alone.
        p_holm: Corrected for all pairs under this protocol at this scale (Holm 1979).
        answer: What can be said of the first model, by the corrected p-value.
    """

    encoder: str
    against: str
    protocol: str
    scale: float
    metric: str
    value: float
    ci95: tuple[float, float]
    p: float
    p_holm: float
    answer: Answer


def pairs(scored: Sequence[Scored], samples: int, level: float = 0.95) -> list[Pair]:
    """Every pair of models, for each protocol and scale.

    Args:
        scored: Over the same draws of the same test samples.
        samples: Number of these; below ``ENOUGH`` there is no verdict.
        level: Of the intervals; the verdicts allow for an error of 1 - level in any of the pairs.
    """
    groups: dict[tuple[str, float], list[Scored]] = {}
    for s in scored:
        groups.setdefault((s.protocol, s.scale), []).append(s)
    return [pair for group in groups.values() for pair in _judged(group, samples, level)]


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number: the smallest is multiplied by it, the next by one less (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    raised = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    found = np.empty(len(p))
    found[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return found.tolist()


def p_value(difference: Estimate) -> float:
    """Two-sided p-value of no difference: twice the share of draws on the other side of zero.

    It inverts the percentile interval; one draw is added so that none is impossible (Davison and Hinkley 1997, 4.2).
    """
    draws = difference.draws[np.isfinite(difference.draws)]
    side = min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0))
    return min(1.0, 2 * (side + 1) / (len(draws) + 1))


def _judged(group: Sequence[Scored], samples: int, level: float) -> Iterator[Pair]:
    found = [_pair(one, other, level) for one, other in combinations(group, 2)]
    for pair, corrected in zip(found, holm([f.p for f in found]), strict=True):
        yield replace(pair, p_holm=corrected, answer=_answer(pair, corrected, samples, level))


def _pair(one: Scored, other: Scored, level: float) -> Pair:
    gap = one.estimate - other.estimate
    p = p_value(gap)
    interval = gap.interval(level)
    return Pair(
        one.encoder, other.encoder, one.protocol, one.scale, one.metric, gap.value, interval, p, p, "n too small"
    )


def _answer(pair: Pair, corrected: float, samples: int, level: float) -> Answer:
    if samples < ENOUGH:
        return "n too small"
    if corrected > 1 - level or pair.value == 0:
        return "level"
    return "better" if METRICS[pair.metric].gain(pair.value) > 0 else "worse"
