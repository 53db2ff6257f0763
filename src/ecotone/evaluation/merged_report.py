"""The report of one contract from what folders of results keep: answers, lines and cards, without an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ecotone.errors import DataError
from ecotone.evaluation.cards import ModelCard, card_score, read_card
from ecotone.evaluation.comparison import pairs
from ecotone.evaluation.contract import Contract
from ecotone.evaluation.details import details
from ecotone.evaluation.report import Report, score_tables, scored
from ecotone.evaluation.result_files import About, Line, card_file, load_answers
from ecotone.evaluation.scoring import Outcome, estimated
from ecotone.evaluation.verdict import caveats, differences, verdicts
from ecotone.metrics import Answers

Names = Mapping[tuple[str, str], str]  # contestant and model -> the name in tables


@dataclass(frozen=True)
class Source:
    """The lines of one contract, from one or more folders."""

    contract: Contract
    mark: str
    about: About
    lines: dict[str, tuple[Line, Path]]


def merged_report(source: Source, *, named: bool) -> tuple[Report, list[Outcome]]:
    """What one evaluation of all models would report, as far as folders keep it, and the outcomes behind it.

    Every encoder is judged by itself against its best floor. Differences to random inits, audits, warnings, pictures
    and the embedding map are not kept.

    Args:
        source: The lines of one contract, at least one of an encoder.
        named: Names bear the mark of the contract.
    """
    names, contract = _names(source, named=named), source.contract
    outcomes = estimated(contract, list(_outcomes(source, names)))
    level = contract.interval.level
    found = differences(outcomes, {}, level)
    report = Report(
        contract=contract,
        **score_tables(contract, outcomes),
        skipped=[],
        differences=found,
        verdicts=verdicts(contract, outcomes, found, [o.contestant for o in outcomes if not o.floor]),
        caveats=list(caveats(contract, synthetic=source.about.synthetic)),
        warnings=[],
        details=details(outcomes, contract.task, source.about.classes, (), []),
        embeddings={},
        classes=source.about.classes,
        models=list(_cards(source, names, outcomes)),
        pairs=pairs(scored(outcomes), contract.data.n["test"], level),
    )
    return report, outcomes


def _outcomes(source: Source, names: Names) -> Iterator[Outcome]:
    """One for each contestant, protocol and scale, encoders first, with the answers of its seeds in order."""
    groups: dict[tuple[str, bool, str, float], dict[int, tuple[Line, Path]]] = {}
    for line, folder in source.lines.values():
        place = names[line.contestant, line.model], line.floor, line.protocol, line.scale
        groups.setdefault(place, {}).setdefault(line.seed, (line, folder))
    for (name, floor, protocol, scale), seeds in sorted(groups.items(), key=lambda group: group[0][1]):
        each = [seeds[s] for s in sorted(seeds)]
        answers = tuple(_answers(line.file(folder), line) for line, folder in each)
        yield Outcome(name, floor, protocol, scale, answers, dict(each[0][0].settings))


def _answers(file: Path, line: Line) -> Answers:
    found = load_answers(file, line.answers)
    if found is None:
        raise DataError(f"the answers {file} are lost or damaged", mend="Evaluate into that folder again.")
    return found


def _names(source: Source, *, named: bool) -> Names:
    """A name of its own for each: with the hash where two models share it, with the mark if asked."""
    models: dict[tuple[str, int], dict[str, None]] = {}
    for line, _ in source.lines.values():
        models.setdefault((line.contestant, line.seed), {})[line.model] = None
    found = {}
    for (name, _), hashes in models.items():
        for model in hashes:
            own = f"{name} ({model[:6]})" if len(hashes) > 1 else name
            found[name, model] = f"{own} [{source.mark}]" if named else own
    return found


def _cards(source: Source, names: Names, outcomes: Sequence[Outcome]) -> Iterator[ModelCard]:
    """The cards that were kept, with the scores at the largest scale."""
    scale, level = max(o.scale for o in outcomes), source.contract.interval.level
    seen = {(line.contestant, line.model): folder for line, folder in source.lines.values() if not line.floor}
    for place, folder in seen.items():
        card = read_card(card_file(folder, place[1]))
        if card is not None:
            mine = [o for o in outcomes if (o.contestant, o.scale) == (names[place], scale)]
            yield replace(card, name=names[place], scores=[card_score(o, outcomes, level) for o in mine])
