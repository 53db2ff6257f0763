"""Figures of a geometry report: a value, its interval, and what to hold it against."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecotone.embeddings.geometry.dimension import mle_dimension, two_nn_of
from ecotone.embeddings.geometry.measures import Measures
from ecotone.embeddings.geometry.neighbours import hubness
from ecotone.embeddings.geometry.retrieval import predictors, rank_correlation_of
from ecotone.embeddings.geometry.spectrum import anisotropy_of, effective_rank, participation_ratio
from ecotone.embeddings.geometry.tangents import random_rotation
from ecotone.evaluation.contract import Interval
from ecotone.evaluation.intervals import Estimate, bootstrap
from ecotone.metrics import Statistic

Array = NDArray[np.floating]
Number = float | np.floating
DRAWS = 500
STEEP = 60.0  # degrees of tangent rotation beyond which directions of one place mean little at the other


@dataclass(frozen=True)
class Figure:
    """One number of the report.

    Attributes:
        name: In files.
        title: In sentences and tables.
        value: None where it is not defined.
        ci95: Its 95 % interval by bootstrap over rows, whose neighbours are held fixed.
        twin: The same figure of a Gaussian with the covariance of the vectors.
        random: The same figure where vectors say nothing at all.
    """

    name: str
    title: str
    value: float | None
    ci95: tuple[float, float] | None = None
    twin: float | None = None
    random: float | None = None


def of_directions(raw: Array, centred: Array, measured: Measures, seed: int) -> Sequence[Figure]:
    """How many directions the vectors use, and whether they share one."""
    shares = np.cumsum(measured.variances) / max(float(measured.variances.sum()), 1e-300)
    before, after = _intervals([anisotropy_of(raw), anisotropy_of(centred)], len(raw), seed)
    return (
        _figure("participation_ratio", "participation ratio", participation_ratio(measured.variances)),
        _figure("effective_rank", "effective rank", effective_rank(measured.variances)),
        _figure("components_90", "components of 90 % of the variance", int(np.searchsorted(shares, 0.9 - 1e-12)) + 1),
        _figure("anisotropy", "anisotropy", before),
        _figure("anisotropy_centred", "anisotropy after centring", after),
    )


def of_neighbours(measured: Measures, twin: Measures, seed: int) -> Sequence[Figure]:
    """Intrinsic dimension and hubs."""
    inverse = measured.inverse_dimension
    statistics = [two_nn_of(measured.neighbours.distance), _inverse_mean(inverse)]
    two, mle = _intervals(statistics, len(inverse), seed)
    other, reached = twin.neighbours.distance, twin.occurrence
    two_of_twin = float(two_nn_of(other)(np.ones((1, len(other))))[0])
    low, high = _quantiles(measured, (0.1, 0.9))
    low_of_twin, high_of_twin = _quantiles(twin, (0.1, 0.9))
    return (
        _figure("two_nn", "dimension by TwoNN", two, two_of_twin),
        _figure("mle_dimension", "dimension by maximum likelihood", mle, mle_dimension(other)),
        _figure("local_dimension_p10", "local dimension, 10th percentile", low, low_of_twin),
        _figure("local_dimension_p90", "local dimension, 90th percentile", high, high_of_twin),
        _figure("hubness", "hubness", hubness(measured.occurrence), hubness(reached)),
        _figure("never_found", "rows in nobody's neighbours", np.mean(measured.occurrence == 0), np.mean(reached == 0)),
    )


def duplicates(rate: float) -> Figure:
    """Exact duplicates among all rows."""
    return _figure("duplicate_rate", "duplicate rate", rate)


def of_tangents(measured: Measures, twin: Measures, ambient: int) -> Sequence[Figure]:
    """How tangent spaces turn and how they lie to the principal directions."""
    d, one, other = measured.tangent_dimension, measured.rotation, twin.rotation
    random = random_rotation(d, ambient)
    steep, of_twin = np.mean(one > STEEP), np.mean(other > STEEP)
    lying = measured.alignment.mean(), twin.alignment.mean()
    return (
        _figure("tangent_dimension", "dimensions of a tangent space", d),
        _figure("tangent_rotation", "tangent rotation, degrees", np.median(one), np.median(other), random),
        _figure("tangent_steep", f"tangents that turn beyond {STEEP:g} degrees", steep, of_twin),
        _figure("alignment", "local-global alignment", *lying, d / ambient),
    )


def of_retrieval(
    measured: Measures, quality: Mapping[str, Array], chance: Mapping[str, float], seed: int
) -> Sequence[Figure]:
    """How good neighbours are, and the rank correlation of that with local geometry.

    Args:
        measured: The measures of each row.
        quality: Name of a retrieval quality -> (n,) its value at each row.
        chance: Name -> its value for random neighbours.
        seed: Of the bootstrap.
    """
    given = predictors(measured)
    found = []
    for name, each in quality.items():
        known = np.flatnonzero(np.isfinite(each))
        statistics = [_mean_of(each, known), *(rank_correlation_of(p, each) for p in given.values())]
        first, *others = _intervals(statistics, len(each), seed)
        key = name.replace(" ", "_")
        found.append(_figure(key, name, first, random=chance[name]))
        for predictor, estimate in zip(given, others, strict=True):
            short = predictor.replace(" ", "_").replace("-", "_")
            found.append(_figure(f"{short}_predicts_{key}", f"{predictor} predicts {name}", estimate, random=0.0))
    return found


def _figure(
    name: str, title: str, value: Number | Estimate, twin: Number | None = None, random: float | None = None
) -> Figure:
    ci = value.interval() if isinstance(value, Estimate) and np.isfinite(value.draws).any() else None
    number = value.value if isinstance(value, Estimate) else float(value)
    return Figure(name, title, _finite(number), ci, _finite(twin), _finite(random))


def _finite(value: Number | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _intervals(statistics: Sequence[Statistic], rows: int, seed: int) -> list[Estimate]:
    return bootstrap(statistics, rows, Interval(draws=DRAWS, seed=seed))


def _inverse_mean(inverse: Array) -> Statistic:
    """1 / mean of the known inverse local dimensions."""
    mean = _mean_of(inverse, np.flatnonzero(np.isfinite(inverse)))

    def statistic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        found = mean(counts)
        return np.divide(1, found, out=np.full(len(found), np.nan), where=found > 0)

    return statistic


def _mean_of(values: Array, known: NDArray[np.int64]) -> Statistic:
    """The mean of some values, for any counts of the rows."""

    def statistic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        counts = counts[:, known]
        total = counts.sum(1)
        return np.divide(counts @ values[known], total, out=np.full(len(counts), np.nan), where=total > 0)

    return statistic


def _quantiles(measured: Measures, at: Sequence[float]) -> tuple[float, ...]:
    inverse = measured.inverse_dimension
    known = inverse[inverse > 0]
    return tuple(1 / np.quantile(known, [1 - q for q in at])) if len(known) else (math.nan,) * len(at)
