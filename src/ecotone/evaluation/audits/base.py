"""What an audit gives: figures that stand beside the scores, and what a reader should be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ecotone.evaluation.contestants import Contestant
from ecotone.evaluation.extraction import Extraction
from ecotone.evaluation.intervals import Estimate
from ecotone.evaluation.scoring import Preparation
from ecotone.evaluation.setup import Setup


@dataclass(frozen=True)
class Figure:
    """A metric of one contestant under one setting of what is audited. The field names are the file format.

    Attributes:
        encoder: Name of the encoder or floor.
        floor: It owes nothing to pretraining.
        protocol: Name of the protocol.
        setting: What was varied, such as ``1 %`` of the labels.
        split: The samples that were scored.
        metric: The main metric.
        value: Its value.
        ci95: Its interval.
        difference: Value minus that of the audit's reference setting, over the same samples.
        difference_ci95: The paired interval of the difference.
        detail: What was chosen under this setting.
    """

    encoder: str
    floor: bool
    protocol: str
    setting: str
    split: str
    metric: str
    value: float
    ci95: tuple[float, float]
    difference: float | None = None
    difference_ci95: tuple[float, float] | None = None
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """The result of one audit.

    Attributes:
        name: As on the command line.
        title: A heading.
        note: What was measured and how to read it.
        settings: Everything that moves the figures and is not in the contract.
        figures: The figures.
        warnings: Sentences for the head of the report.
        facts: What else was found, for JSON.
    """

    name: str
    title: str
    note: str
    settings: dict[str, Any]
    figures: list[Figure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def shown(self) -> bool:
        """There is something for a page to show."""
        return bool(self.figures or self.warnings)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def figure(
    setup: Setup,
    contestant: Contestant,
    protocol: str,
    setting: str,
    estimate: Estimate,
    *,
    split: str,
    reference: Estimate | None = None,
    detail: str = "",
) -> Figure:
    """A figure of the main metric; with its paired difference to a reference, where one is given."""
    level = setup.contract.interval.level
    gap = None if reference is None else estimate - reference
    return Figure(
        encoder=contestant.name,
        floor=contestant.floor,
        protocol=protocol,
        setting=setting,
        split=split,
        metric=setup.metrics[protocol][0],
        value=estimate.value,
        ci95=estimate.interval(level),
        difference=None if gap is None else gap.value,
        difference_ci95=None if gap is None else gap.interval(level),
        detail=detail,
    )


def choice(settings: Mapping[str, Any]) -> str:
    """What a protocol chose, or takes as it is, in words."""
    return ", ".join(f"{name} {settings[name]:g}" for name in ("k", "C", "alpha") if name in settings)


def over_repeats(each: Sequence[Estimate], seed: int) -> Estimate:
    """The mean over repeats, which are drawn anew in every draw, so that their luck is part of the interval.

    Args:
        each: One estimate for each repeat, over the same draws.
        seed: Of the repeats that are drawn.
    """
    draws = np.stack([e.draws for e in each], 1)
    picked = np.random.default_rng(seed).integers(len(each), size=draws.shape)
    return Estimate(float(np.mean([e.value for e in each])), np.take_along_axis(draws, picked, 1).mean(1))


def without_labels(setup: Setup, made: Preparation) -> Extraction:
    """Gives the features of all contestants but those that learnt from the labels that an audit holds back."""
    listed = [c for c in setup.contestants if not c.labelled]
    return Extraction(replace(setup, contestants=listed), made.extraction.sources)


def figure_tables(figures: Sequence[Figure]) -> list[tuple[str, list[str], dict[str, dict[str, Figure]]]]:
    """For each protocol: its name, the settings, and encoder or floor -> setting -> figure."""
    tables = []
    for protocol in dict.fromkeys(f.protocol for f in figures):
        mine = [f for f in figures if f.protocol == protocol]
        lines: dict[str, dict[str, Figure]] = {}
        for f in mine:
            lines.setdefault(f.encoder, {})[f.setting] = f
        tables.append((protocol, list(dict.fromkeys(f.setting for f in mine)), lines))
    return tables
