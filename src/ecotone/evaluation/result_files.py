"""The files of a folder of results: ``contract.json``, ``results.jsonl``, and ``answers/`` for every question."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ecotone.errors import DataError
from ecotone.evaluation.cache import tensors_hash
from ecotone.evaluation.contract import Contract, canonical
from ecotone.files import replacing
from ecotone.metrics import Answers

CONTRACT, RESULTS, ANSWERS, DATA = "contract.json", "results.jsonl", "answers", "data.json"


class About(BaseModel):
    """What a report says of the dataset and no contract does.

    Attributes:
        classes: Class names in the order of the labels.
        synthetic: The imagery is synthetic.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    classes: tuple[str, ...] = ()
    synthetic: bool = False


class Question(BaseModel):
    """What is asked once: one contestant, of one seed, under one protocol at one scale.

    Attributes:
        contestant: Its name in tables.
        floor: It owes nothing to pretraining.
        model: Hash of all that makes its features: weights and architecture, or the floor and its seed.
        protocol: Name of the protocol.
        scale: Relative scale.
        seed: Of a random floor; 0 otherwise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    contestant: str
    floor: bool
    model: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    protocol: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    scale: Annotated[float, Field(gt=0, le=1)]
    seed: Annotated[int, Field(ge=0)]

    def line_id(self, metric: str) -> str:
        """Of the line of one metric, unlike any other in a folder."""
        return f"{self.model}/{self.protocol}/{self.scale!r}/{self.seed}/{metric}"

    def file(self, folder: Path) -> Path:
        """Where the answers lie."""
        return folder / ANSWERS / f"{self.model}-{self.protocol}-{self.scale!r}-{self.seed}.safetensors"


class Line(Question):
    """One score, as a line of ``results.jsonl``.

    Attributes:
        id: Model, protocol, scale, seed and metric.
        contract: Hash of the contract.
        metric: What was measured.
        value: Over the whole test split.
        settings: What the protocol chose.
        answers: SHA-256 of the answers that the value follows from.
    """

    id: str
    contract: str
    metric: str
    value: float
    settings: dict[str, Any]
    answers: str

    def text(self) -> str:
        """As it is written, with its end."""
        return json.dumps(self.model_dump(), ensure_ascii=False) + "\n"


def parse_line(text: bytes, folder: Path, contract: str) -> Line:
    """A whole line.

    Raises:
        DataError: It is damaged, or belongs to another contract.
    """
    try:
        line = Line.model_validate(json.loads(text))
    except (ValueError, ValidationError) as error:
        raise DataError(
            f"{folder / RESULTS} holds a line that is no score", found=text[:80].decode("utf-8", "replace")
        ) from error
    if line.contract != contract:
        raise DataError(f"{folder / RESULTS} holds a score of another contract", found=line.id, expected=contract)
    return line


def read_lines(folder: Path, contract: str) -> list[Line]:
    """The scores of a folder; one that is being written just now is left out.

    Raises:
        DataError: The file is damaged or cannot be read.
    """
    file = folder / RESULTS
    if not file.exists():
        return []
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error
    return [parse_line(text, folder, contract) for text in content.split(b"\n")[:-1]]


def read_about(folder: Path) -> About:
    """What ``data.json`` says of the dataset; nothing where it is absent.

    Raises:
        DataError: It is damaged.
    """
    file = folder / DATA
    if not file.is_file():
        return About()
    try:
        return About.model_validate_json(file.read_text("utf-8"))
    except (ValidationError, OSError) as error:
        raise DataError(f"{file} is damaged", mend="Evaluate into that folder again.") from error


def card_file(folder: Path, model: str) -> Path:
    """Where the card of a model lies."""
    return folder / "models" / f"{model}.json"


def contract_text(contract: Contract) -> str:
    """The content of ``contract.json``: canonical JSON of the settings, and the hash of these very characters."""
    return f'{{"contract":"{contract.hash}","settings":{contract.canonical()}}}\n'


def read_contract(folder: Path) -> tuple[str, dict[str, Any]]:
    """The hash and the settings of a folder's contract.

    Raises:
        DataError: There is none, or it was changed.
    """
    file = folder / CONTRACT
    try:
        found = json.loads(file.read_text("utf-8"))
        said, settings = found["contract"], found["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} is no folder of results: its {CONTRACT} cannot be read") from error
    digest = hashlib.sha256(canonical(settings).encode()).hexdigest()
    if digest != said:
        raise DataError(f"{file} was changed after it was written", found=digest, expected=said)
    return said, settings


def answers_hash(answers: Answers) -> str:
    """SHA-256 of answers."""
    return tensors_hash(_tensors(answers))


def save_answers(file: Path, answers: Answers) -> None:
    """Write answers.

    Raises:
        DataError: The folder cannot be written.
    """
    with replacing(file) as temporary:
        save_file(_tensors(answers), temporary)


def load_answers(file: Path, digest: str) -> Answers | None:
    """Answers from a file, or None if they are lost or not those of this SHA-256."""
    try:
        with safe_open(file, "pt") as opened:
            found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError):
        return None
    if tensors_hash(found) != digest:
        return None
    each = {name.removeprefix("each."): t for name, t in found.items() if name.startswith("each.")}
    return Answers(found["truth"], found.get("decisions"), found.get("scores"), each)


def _tensors(answers: Answers) -> dict[str, Tensor]:
    parts = {"truth": answers.truth, "decisions": answers.decisions, "scores": answers.scores}
    parts |= {f"each.{name}": values for name, values in answers.each.items()}
    return {name: t.contiguous() for name, t in parts.items() if t is not None}
