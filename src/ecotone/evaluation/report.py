"""The report: every score with its interval, the differences, the verdict and the contract, as data and as files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ecotone.evaluation.audits.base import Finding
from ecotone.evaluation.cards import Budget, ModelCard, cards
from ecotone.evaluation.comparison import Pair, Scored, pairs
from ecotone.evaluation.contract import Contract
from ecotone.evaluation.details import Details
from ecotone.evaluation.features import FeatureSet
from ecotone.evaluation.intervals import average
from ecotone.evaluation.scoring import Outcome, mean_name
from ecotone.evaluation.setup import Setup
from ecotone.evaluation.tables import csv_text, markdown_text
from ecotone.evaluation.tables_audits import audits_csv, audits_file
from ecotone.evaluation.verdict import Difference, Verdict, caveats, differences, random_inits, verdicts
from ecotone.files import replacing


@dataclass(frozen=True)
class Row:
    """One score. The field names are the file format."""

    encoder: str
    floor: bool
    dataset: str
    protocol: str
    scale: float
    scale_protocol: str
    metric: str
    value: float
    ci95: tuple[float, float]
    n_train: int
    n_test: int
    settings: dict[str, Any]

    @property
    def seed_values(self) -> list[float]:
        """The value of each seed, of a random floor under several; empty otherwise."""
        return self.settings.get("seed_values", [])


@dataclass(frozen=True)
class Score:
    """One metric besides the main one."""

    encoder: str
    floor: bool
    protocol: str
    scale: float
    metric: str
    value: float
    ci95: tuple[float, float]
    seed_values: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Skipped:
    """A scale that was asked for and not scored, with the reason."""

    scale: float
    reason: str


@dataclass(frozen=True)
class ScaleMean:
    """The mean of a contestant's scores over all scales, with the interval of that mean."""

    encoder: str
    floor: bool
    protocol: str
    value: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Report:
    """The result of an evaluation.

    Attributes:
        contract: The frozen settings; its hash belongs to every score.
        rows: The main metric for each contestant, protocol and scale.
        others: The other metrics.
        skipped: Scales that could not be scored.
        means: Means over the scales.
        differences: Encoders against floors, paired.
        verdicts: One sentence for each protocol.
        caveats: What limits them.
        warnings: What else a reader should know.
        details: What lies behind the scores of the first encoder.
        embeddings: Standardised test features of the encoders at the largest scale.
        classes: Class names.
        audits: What the audits found.
        models: A card for each encoder.
        pairs: Encoders against each other, where they are compared.
    """

    contract: Contract
    rows: list[Row]
    others: list[Score]
    skipped: list[Skipped]
    means: list[ScaleMean]
    differences: list[Difference]
    verdicts: list[Verdict]
    caveats: list[str]
    warnings: list[str]
    details: Details
    embeddings: dict[str, FeatureSet]
    classes: tuple[str, ...]
    audits: list[Finding] = field(default_factory=list)
    models: list[ModelCard] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The content of the JSON file: ``contract`` (hash), ``results``, and what explains them."""
        return {
            "contract": self.contract.hash,
            "results": [asdict(r) for r in self.rows],
            "other_metrics": [asdict(s) for s in self.others],
            "scale_means": [asdict(m) for m in self.means],
            "differences": [asdict(d) for d in self.differences],
            "verdicts": [asdict(v) for v in self.verdicts],
            "caveats": self.caveats,
            "warnings": self.warnings,
            "skipped": [asdict(s) for s in self.skipped],
            **self.details.to_dict(),
            "audits": {a.name: a.to_dict() for a in self.audits},
            "models": [m.to_dict() for m in self.models],
            "pairs": [asdict(p) for p in self.pairs],
            "settings": self.contract.model_dump(mode="json"),
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def save_json(self, path: str | Path) -> None:
        """Write the JSON file whole, or not at all."""
        with replacing(Path(path)) as temporary:
            temporary.write_text(self.to_json() + "\n", "utf-8")

    def save_csv(self, path: str | Path) -> list[Path]:
        """Write one line for each score of each metric, and the figures of audits, if any, into a file beside it.

        Returns:
            The files: ``scores.csv``, and ``scores.audits.csv`` if audits found figures.
        """
        path = Path(path)
        texts = {path: csv_text(self), audits_file(path): audits_csv(self)}
        written = [file for file, text in texts.items() if text]
        for file in written:
            with replacing(file) as temporary:
                temporary.write_text(texts[file], "utf-8")
        return written

    def save_markdown(self, path: str | Path) -> None:
        """Write verdicts, caveats and tables as Markdown."""
        with replacing(Path(path)) as temporary:
            temporary.write_text(markdown_text(self), "utf-8")

    def save_html(self, path: str | Path) -> None:
        """Write one self-contained page."""
        from ecotone.evaluation.page import render

        with replacing(Path(path)) as temporary:
            temporary.write_text(render(self), "utf-8")


def build_report(
    setup: Setup,
    outcomes: Sequence[Outcome],
    embeddings: Mapping[str, FeatureSet],
    warnings: Sequence[str],
    costs: Mapping[str, Budget],
    behind: Details,
    findings: Sequence[Finding] = (),
) -> Report:
    """Turn outcomes into rows with intervals, differences and verdicts."""
    contract = setup.contract
    level = contract.interval.level
    found = differences(outcomes, random_inits(setup.entrants), level)
    names = [e.name for e in setup.entrants]
    judged = names if setup.compare or len(names) == 1 else [mean_name(len(names))]
    return Report(
        contract=contract,
        **score_tables(contract, outcomes),
        skipped=[Skipped(s, r) for s in setup.plan.scales if (r := setup.refusal(s))],
        differences=found,
        verdicts=verdicts(contract, outcomes, found, judged),
        caveats=list(caveats(contract, synthetic=setup.splits.info.synthetic, left_out=setup.left_out)),
        warnings=[
            *setup.splits.warnings(),
            *dict.fromkeys(warnings),
            *_resized(setup),
            *(text for finding in findings for text in finding.warnings),
        ],
        details=behind,
        embeddings=dict(embeddings),
        classes=setup.classes,
        audits=list(findings),
        models=cards(setup, outcomes, costs),
        pairs=pairs(scored(outcomes), contract.data.n["test"], level) if setup.compare else [],
    )


def score_tables(contract: Contract, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The fields ``rows``, ``others`` and ``means`` of a report."""
    return {
        "rows": [_row(contract, o) for o in outcomes],
        "others": [s for o in outcomes for s in _others(contract, o)],
        "means": _means(contract, outcomes),
    }


def scored(outcomes: Sequence[Outcome]) -> list[Scored]:
    """The main metrics of the encoders, for comparison."""
    return [Scored(o.contestant, o.protocol, o.scale, o.metric, o.main) for o in outcomes if not o.floor]


def _row(contract: Contract, o: Outcome) -> Row:
    return Row(
        encoder=o.contestant,
        floor=o.floor,
        dataset=contract.data.name,
        protocol=o.protocol,
        scale=o.scale,
        scale_protocol=contract.resize.scale_protocol,
        metric=o.metric,
        value=o.main.value,
        ci95=o.main.interval(contract.interval.level),
        n_train=contract.data.n["train"],
        n_test=contract.data.n["test"],
        settings=o.settings | ({"seed_values": o.seed_values[o.metric]} if o.seed_values else {}),
    )


def _others(contract: Contract, o: Outcome) -> list[Score]:
    level = contract.interval.level
    return [
        Score(
            encoder=o.contestant,
            floor=o.floor,
            protocol=o.protocol,
            scale=o.scale,
            metric=name,
            value=found.value,
            ci95=found.interval(level),
            seed_values=o.seed_values.get(name, []),
        )
        for name, found in o.estimates.items()
        if name != o.metric
    ]


def _means(contract: Contract, outcomes: Sequence[Outcome]) -> list[ScaleMean]:
    """Of those that have a score at every scale."""
    scales = {o.scale for o in outcomes}
    grouped: dict[tuple[str, bool, str], list[Outcome]] = {}
    for o in outcomes:
        grouped.setdefault((o.contestant, o.floor, o.protocol), []).append(o)
    found = []
    for (name, floor, protocol), each in grouped.items():
        if len(each) < len(scales):
            continue
        mean = average([o.main for o in each])
        interval = mean.interval(contract.interval.level)
        found.append(ScaleMean(name, floor, protocol, mean.value, interval))
    return found


def _resized(setup: Setup) -> list[str]:
    keys = sorted(setup.reader.resized)
    if not keys:
        return []
    height, width = setup.plan.size
    return [f"{len(keys)} images of another size were resized to {height} x {width} pixels, such as {keys[0]}."]
