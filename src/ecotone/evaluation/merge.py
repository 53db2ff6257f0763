"""Folders of results joined into one table, without an image being read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ecotone.errors import DataError, RecipeError
from ecotone.evaluation.cards import ModelCard, read_card
from ecotone.evaluation.comparison import Pair, Scored, pairs
from ecotone.evaluation.contract import Contract, differing
from ecotone.evaluation.intervals import Estimate, average, bootstrap
from ecotone.evaluation.merged_tables import csv_text, html_text, markdown_text
from ecotone.evaluation.result_files import Line, card_file, load_answers, read_contract, read_lines
from ecotone.files import replacing
from ecotone.metrics import METRICS, Answers


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
    """

    contracts: dict[str, Contract]
    differing: dict[str, list[Any]]
    rows: list[MergedRow]
    pairs: list[Pair]
    models: list[ModelCard]

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


@dataclass(frozen=True)
class _Source:
    """The lines of one contract, from one or more folders."""

    contract: Contract
    mark: str
    lines: dict[str, tuple[Line, Path]]


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
    rows, scored, models = [], [], []
    for source in sources:
        found = _estimates(source, named=len(sources) > 1)
        rows += [_row(source, *key, estimate) for key, estimate in found.items()]
        scored += [(source.contract, key, estimate) for key, estimate in found.items() if not key[1]]
        models += _cards(source, named=len(sources) > 1)
    return Merged({s.mark: s.contract for s in sources}, odd, rows, _pairs(scored), models)


def _sources(folders: Sequence[Path]) -> list[_Source]:
    found: dict[str, _Source] = {}
    for folder in folders:
        digest, settings = read_contract(folder)
        if digest not in found:
            found[digest] = _Source(_contract(settings, folder), chr(ord("A") + len(found)), {})
        for line in read_lines(folder, digest):
            found[digest].lines.setdefault(line.id, (line, folder))
    if not any(s.lines for s in found.values()):
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


Key = tuple[str, bool, str, float, str]  # name, floor, protocol, scale, metric


def _estimates(source: _Source, *, named: bool) -> dict[Key, Estimate]:
    """Every metric with its draws, averaged over seeds."""
    names = _names(source, named=named)
    answers: dict[Path, Answers] = {}
    keys, statistics = [], []
    for line, folder in source.lines.values():
        file = line.file(folder)
        if file not in answers:
            answers[file] = _answers(file, line)
        keys.append((names[line.contestant, line.model], line.floor, line.protocol, line.scale, line.metric))
        statistics.append(METRICS[line.metric].of(answers[file]))
    contract = source.contract
    each: dict[Key, list[Estimate]] = {}
    for key, estimate in zip(keys, bootstrap(statistics, contract.data.n["test"], contract.interval), strict=True):
        each.setdefault(key, []).append(estimate)
    return {key: average(seeds) for key, seeds in each.items()}


def _answers(file: Path, line: Line) -> Answers:
    found = load_answers(file, line.answers)
    if found is None:
        raise DataError(f"the answers {file} are lost or damaged", mend="Evaluate into that folder again.")
    return found


def _names(source: _Source, *, named: bool) -> dict[tuple[str, str], str]:
    """(contestant, model) -> a name of its own: with the hash where two models share it, with the mark if asked."""
    models: dict[tuple[str, int], dict[str, None]] = {}
    for line, _ in source.lines.values():
        models.setdefault((line.contestant, line.seed), {})[line.model] = None
    found = {}
    for (name, _), hashes in models.items():
        for model in hashes:
            own = f"{name} ({model[:6]})" if len(hashes) > 1 else name
            found[name, model] = f"{own} [{source.mark}]" if named else own
    return found


def _row(
    source: _Source, name: str, floor: bool, protocol: str, scale: float, metric: str, estimate: Estimate
) -> MergedRow:
    c = source.contract
    return MergedRow(
        encoder=name,
        floor=floor,
        dataset=c.data.name,
        protocol=protocol,
        scale=scale,
        scale_protocol=c.resize.scale_protocol,
        metric=metric,
        value=estimate.value,
        ci95=estimate.interval(c.interval.level),
        n_train=c.data.n["train"],
        n_test=c.data.n["test"],
        mark=source.mark,
        contract=c.hash,
    )


def _pairs(scored: Sequence[tuple[Contract, Key, Estimate]]) -> list[Pair]:
    """Pairs over the main metric, of those whose draws are of the same test samples."""
    groups: dict[str, tuple[Contract, list[Scored]]] = {}
    for c, (name, _, protocol, scale, metric), estimate in scored:
        if metric == c.metrics[protocol][0]:
            same = (
                c.data.content,
                c.data.manifest,
                c.data.split,
                c.interval.model_dump(),
                c.resize.scale_protocol,
                metric,
            )
            group = groups.setdefault(json.dumps(same), (c, []))
            group[1].append(Scored(name, protocol, scale, metric, estimate))
    return [p for c, group in groups.values() for p in pairs(group, c.data.n["test"], c.interval.level)]


def _cards(source: _Source, *, named: bool) -> Iterator[ModelCard]:
    names = _names(source, named=named)
    seen = {(line.contestant, line.model): folder for line, folder in source.lines.values() if not line.floor}
    for (name, model), folder in seen.items():
        card = read_card(card_file(folder, model))
        if card is not None:
            yield replace(card, name=names[name, model], scores=[])


def _write(path: str | Path, text: str) -> None:
    with replacing(Path(path)) as temporary:
        temporary.write_text(text, "utf-8")
