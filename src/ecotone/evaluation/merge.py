"""Folders of results joined into one table, without an image being read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ecotone.errors import DataError, RecipeError
from ecotone.evaluation.cards import ModelCard
from ecotone.evaluation.comparison import Pair, Scored, pairs
from ecotone.evaluation.contract import Contract, differing
from ecotone.evaluation.merged_report import Source, merged_report
from ecotone.evaluation.merged_tables import csv_text, html_text, markdown_text
from ecotone.evaluation.report import Report, scored
from ecotone.evaluation.result_files import read_about, read_contract, read_lines
from ecotone.evaluation.scoring import Outcome
from ecotone.files import replacing


@dataclass(frozen=True)
class MergedRow:
    """One score with the mark of its contract; the field names are the file format."""

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
    seed_values: list[float]
    mark: str
    contract: str


@dataclass(frozen=True)
class Merged:
    """Scores of several folders.

    Attributes:
        contracts: Mark -> contract. One contract has the mark ``A``.
        differing: Setting -> its value in each contract, where there are several.
        rows: Every score of every metric.
        pairs: Encoders against each other, where they answered for the same test samples.
        models: A card for each encoder.
        reports: Mark -> what one evaluation of its models would report, as far as folders keep it.
    """

    contracts: dict[str, Contract]
    differing: dict[str, list[Any]]
    rows: list[MergedRow]
    pairs: list[Pair]
    models: list[ModelCard]
    reports: dict[str, Report]

    def to_dict(self) -> dict[str, Any]:
        """The content of the JSON file."""
        return {
            "contracts": {mark: c.hash for mark, c in self.contracts.items()},
            "mixed": len(self.contracts) > 1,
            "differing": self.differing,
            "results": [asdict(r) for r in self.rows],
            "pairs": [asdict(p) for p in self.pairs],
            "models": [m.to_dict() for m in self.models],
            "settings": {mark: c.model_dump(mode="json") for mark, c in self.contracts.items()},
        }

    def save_csv(self, path: str | Path) -> None:
        """Write one line for each score of each metric."""
        _write(path, csv_text(self))

    def save_markdown(self, path: str | Path) -> None:
        """Write the tables as Markdown."""
        _write(path, markdown_text(self))

    def save_html(self, path: str | Path) -> None:
        """Write one self-contained page."""
        _write(path, html_text(self))


def merge(folders: Sequence[str | Path], *, mixed: bool = False) -> Merged:
    """Join folders of results into one table.

    Args:
        folders: What ``evaluate(out=...)`` wrote. A score that lies in several of them counts once.
        mixed: Let scores of several contracts stand in one table, each with the mark of its contract.

    Raises:
        RecipeError: The folders have several contracts and this was not asked for; the settings that differ are named.
        DataError: A folder holds no results, or damaged ones.
    """
    sources = _sources([Path(f) for f in folders])
    odd = _differing([s.contract for s in sources])
    if len(sources) > 1 and not mixed:
        raise RecipeError(
            f"these results have {len(sources)} contracts: {', '.join(odd)} differ",
            expected="one contract",
            mend="Evaluate under one contract; or ask for --mixed, which marks every score with its contract.",
        )
    found = {s.mark: merged_report(s, named=len(sources) > 1) for s in sources}
    return Merged(
        contracts={s.mark: s.contract for s in sources},
        differing=odd,
        rows=[row for mark, (report, _) in found.items() for row in _rows(report, mark)],
        pairs=_pairs([(report.contract, outcomes) for report, outcomes in found.values()]),
        models=[card for report, _ in found.values() for card in report.models],
        reports={mark: report for mark, (report, _) in found.items()},
    )


def _sources(folders: Sequence[Path]) -> list[Source]:
    found: dict[str, Source] = {}
    for folder in folders:
        digest, settings = read_contract(folder)
        if digest not in found:
            found[digest] = Source(_contract(settings, folder), chr(ord("A") + len(found)), read_about(folder), {})
        for line in read_lines(folder, digest):
            found[digest].lines.setdefault(line.id, (line, folder))
    if not found or any(all(line.floor for line, _ in s.lines.values()) for s in found.values()):
        raise DataError("there are no scores to merge", found=", ".join(map(str, folders)) or "no folder")
    return list(found.values())


def _contract(settings: dict[str, Any], folder: Path) -> Contract:
    try:
        return Contract.model_validate(settings)
    except ValidationError as error:
        raise DataError(f"the contract in {folder} is of a version of Ecotone that this one does not know") from error


def _differing(contracts: Sequence[Contract]) -> dict[str, list[Any]]:
    """Setting -> its value in each contract."""
    dumps = [c.model_dump(mode="json") for c in contracts]
    names = dict.fromkeys(name for d in dumps[1:] for name in differing(dumps[0], d))
    return {name: [_value(d, name) for d in dumps] for name in names}


def _value(settings: Any, name: str) -> Any:
    for part in name.split("."):
        settings = settings.get(part) if isinstance(settings, dict) else None
    return settings


def _rows(report: Report, mark: str) -> Iterator[MergedRow]:
    """Every score of every metric."""
    c = report.contract
    for r in (*report.rows, *report.others):
        yield MergedRow(
            encoder=r.encoder,
            floor=r.floor,
            dataset=c.data.name,
            protocol=r.protocol,
            scale=r.scale,
            scale_protocol=c.resize.scale_protocol,
            metric=r.metric,
            value=r.value,
            ci95=r.ci95,
            n_train=c.data.n["train"],
            n_test=c.data.n["test"],
            seed_values=r.seed_values,
            mark=mark,
            contract=c.hash,
        )


def _pairs(found: Sequence[tuple[Contract, Sequence[Outcome]]]) -> list[Pair]:
    """Pairs over the main metric, of those whose draws are of the same test samples."""
    groups: dict[str, tuple[Contract, list[Scored]]] = {}
    for c, outcomes in found:
        for s in scored(outcomes):
            same = (c.data.content, c.data.manifest, c.data.split, c.interval.model_dump(), c.resize.scale_protocol)
            group = groups.setdefault(json.dumps((*same, s.metric)), (c, []))
            group[1].append(s)
    return [p for c, group in groups.values() for p in pairs(group, c.data.n["test"], c.interval.level)]


def _write(path: str | Path, text: str) -> None:
    with replacing(Path(path)) as temporary:
        temporary.write_text(text, "utf-8")
