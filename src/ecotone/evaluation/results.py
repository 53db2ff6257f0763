"""A folder of results: the contract first, then one line for each score, appended and never rewritten.

``contract.json`` holds the frozen settings and their hash, ``results.jsonl`` the scores, and ``answers/`` what was
answered for every test sample, from which intervals and differences follow without reading an image again. A process
may be killed at any moment: answers are written before their lines, a line that was cut short is removed by the next
process, and whole lines are found by their id and kept. Several processes may write at once.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from ecotone.data.base import DatasetInfo
from ecotone.errors import DataError, RecipeError
from ecotone.evaluation.contract import Contract, differing
from ecotone.evaluation.features import FeatureSet
from ecotone.evaluation.protocols.base import Fitted
from ecotone.evaluation.result_files import (
    CONTRACT,
    DATA,
    RESULTS,
    About,
    Line,
    Question,
    answers_hash,
    card_file,
    contract_text,
    load_answers,
    parse_line,
    read_contract,
    save_answers,
)
from ecotone.files import append, replacing, write_errors
from ecotone.metrics import METRICS, Answers

if TYPE_CHECKING:
    from ecotone.evaluation.cards import ModelCard

LOCK = ".lock"


@dataclass(frozen=True)
class Kept:
    """Answers to a question, and what the protocol had chosen."""

    answers: Answers
    settings: dict[str, Any]


@dataclass
class Recalled(Fitted):
    """Stands for a head whose answers are kept at every scale, so that it is not fitted again."""

    def answer(self, test: FeatureSet) -> Answers:
        raise AssertionError("the answers of this head are kept")


class ResultFolder:
    """The results of one contract.

    Args:
        folder: Made where it is absent.
        contract: The frozen settings; written before any score.

    Raises:
        RecipeError: The folder holds the results of another contract; the settings that differ are named.
        DataError: The folder holds something else, is damaged or cannot be written.
    """

    def __init__(self, folder: str | Path, contract: Contract) -> None:
        self.folder, self._hash = Path(folder), contract.hash
        self._lines: dict[str, Line] = {}
        self._read = 0  # bytes of results.jsonl that are in _lines
        with self._locked():
            self._claim(contract)
            self._refresh()

    @property
    def lines(self) -> list[Line]:
        """All scores, in the order in which they were written."""
        return list(self._lines.values())

    def recall(self, question: Question, metrics: Sequence[str]) -> Kept | None:
        """The answers to a question, if all its metrics are kept. Damaged answers count as absent, with a warning."""
        lines = [line for m in metrics if (line := self._lines.get(question.line_id(m)))]
        answers = self._load(question, lines[0]) if len(lines) == len(metrics) else None
        return None if answers is None else Kept(answers, lines[0].settings)

    def add(self, question: Question, metrics: Sequence[str], found: Kept) -> Kept:
        """Append the lines of these metrics that are not there yet.

        Returns:
            What is kept: another process may have been first.

        Raises:
            DataError: The kept answers are lost or damaged, and the new ones are not the same.
        """
        with self._locked():
            self._refresh()
            first = next((line for m in metrics if (line := self._lines.get(question.line_id(m)))), None)
            found = self._settled(question, found, first)
            new = [m for m in metrics if question.line_id(m) not in self._lines]
            text = "".join(line.text() for line in self._new_lines(question, new, found))
            append(self.folder / RESULTS, text.encode())
            self._refresh()
        return found

    def keep_data(self, info: DatasetInfo) -> None:
        """Keep what reports over several folders say of the dataset."""
        with replacing(self.folder / DATA) as temporary:
            temporary.write_text(
                About(classes=info.classes, synthetic=info.synthetic).model_dump_json() + "\n", "utf-8"
            )

    def keep_card(self, model: str, card: ModelCard) -> None:
        """Keep what a model is and costs, for reports over several folders."""
        with replacing(card_file(self.folder, model)) as temporary:
            temporary.write_text(json.dumps(card.to_dict(), indent=2, ensure_ascii=False) + "\n", "utf-8")

    def _new_lines(self, question: Question, metrics: Sequence[str], found: Kept) -> Iterator[Line]:
        digest = answers_hash(found.answers)
        for m in metrics:
            yield Line(
                **question.model_dump(),
                id=question.line_id(m),
                contract=self._hash,
                metric=m,
                value=METRICS[m].value(found.answers),
                settings=found.settings,
                answers=digest,
            )

    def _settled(self, question: Question, found: Kept, first: Line | None) -> Kept:
        """What was kept with the line that is there, or what was found, written down."""
        if first is not None:
            answers = self._load(question, first)
            if answers is not None:
                return Kept(answers, first.settings)
            if answers_hash(found.answers) != first.answers:
                raise DataError(
                    f"the answers behind {first.id} in {self.folder} are lost, and the new ones are not the same",
                    mend="Evaluate into another folder.",
                )
        save_answers(question.file(self.folder), found.answers)
        return Kept(found.answers, first.settings if first else json.loads(json.dumps(found.settings)))

    def _load(self, question: Question, line: Line) -> Answers | None:
        file = question.file(self.folder)
        found = load_answers(file, line.answers)
        if found is None:
            warnings.warn(f"the answers {file} are lost or damaged and made anew", stacklevel=3)
        return found

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / LOCK)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _claim(self, contract: Contract) -> None:
        if not (self.folder / CONTRACT).is_file():
            odd = [f.name for f in self.folder.iterdir() if not f.name.startswith(".")]
            if odd:
                raise DataError(
                    f"{self.folder} is not empty and holds no {CONTRACT}",
                    found=", ".join(sorted(odd)[:3]),
                    mend="Choose another folder.",
                )
            with replacing(self.folder / CONTRACT) as temporary:
                temporary.write_text(contract_text(contract), "utf-8")
            return
        odd = differing(read_contract(self.folder)[1], contract.model_dump(mode="json"))
        if odd:
            raise RecipeError(
                f"{self.folder} holds the results of another contract: {len(odd)} settings differ",
                found="; ".join(f"{name} {there}" for name, (there, _) in odd.items()),
                expected="; ".join(f"{name} {mine}" for name, (_, mine) in odd.items()),
                mend="Choose another folder: scores of two contracts do not compare.",
            )

    def _refresh(self) -> None:
        """Read the lines that were added, and remove one that was cut short: under the lock nobody is writing it."""
        file = self.folder / RESULTS
        if not file.exists():
            return
        with file.open("rb") as opened:
            opened.seek(self._read)
            new = opened.read()
        whole = new[: new.rfind(b"\n") + 1]
        if len(whole) < len(new):
            with write_errors(file):
                os.truncate(file, self._read + len(whole))
        for text in whole.split(b"\n")[:-1]:
            line = parse_line(text, self.folder, self._hash)
            self._lines.setdefault(line.id, line)
        self._read += len(whole)
