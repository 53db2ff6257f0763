"""A predictor on disk: the model folder of its encoder, with the head beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from ecotone.errors import CheckpointError
from ecotone.files import file_sha256, replacing
from ecotone.heads import Predictor, Task, build_head
from ecotone.weights.model import WEIGHTS, Model, load_model, model_folder, save_model, save_weights

HEAD_CARD, HEAD_WEIGHTS = "head.yaml", "head.safetensors"


class HeadCard(BaseModel):
    """``head.yaml``: what the head answers.

    Attributes:
        schema_version: Version of this layout.
        task: ``classification``, ``multilabel``, ``regression`` or ``segmentation``.
        classes: Names, in the order of the scores.
        thresholds: For ``multilabel``: the probability from which each label counts as present.
        scaling: For ``regression``: mean and standard deviation of the values.
        kind: Which head it is.
        config: What builds it.
        encoder_sha256: Of the encoder's ``model.safetensors``, which the head was trained with.
        weights_sha256: Of ``head.safetensors``.
    """

    model_config = ConfigDict(extra="forbid")
    schema_version: Literal[1] = 1
    task: Task
    classes: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()
    scaling: tuple[float, float] = (0.0, 1.0)
    kind: str
    config: dict[str, Any]
    encoder_sha256: str
    weights_sha256: str


@dataclass(frozen=True)
class LoadedPredictor:
    """A predictor from disk.

    Attributes:
        predictor: Ready to use, in evaluation mode.
        card: The content of ``head.yaml``.
        model: The encoder's part: its card, hash and folder.
    """

    predictor: Predictor
    card: HeadCard
    model: Model


def save_predictor(
    predictor: Predictor,
    folder: str | Path,
    *,
    name: str,
    image_size: int,
    recipe: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
) -> Path:
    """Write a predictor as a folder, which is also the model folder of its encoder. The head's card comes last.

    Raises:
        DataError: The folder cannot be written.
    """
    folder = Path(folder)
    (folder / HEAD_CARD).unlink(missing_ok=True)  # while both parts are being replaced they are no predictor
    save_weights(predictor.head, folder / HEAD_WEIGHTS)
    save_model(
        predictor.encoder, folder, name=name, image_size=image_size, recipe=recipe or {}, provenance=provenance or {}
    )
    card = HeadCard(
        task=predictor.task,
        classes=predictor.classes,
        thresholds=predictor.thresholds,
        scaling=predictor.scaling,
        kind=predictor.head.kind,
        config=predictor.head.config(),
        encoder_sha256=file_sha256(folder / WEIGHTS),
        weights_sha256=file_sha256(folder / HEAD_WEIGHTS),
    )
    with replacing(folder / HEAD_CARD) as temporary:
        temporary.write_text(yaml.safe_dump(card.model_dump(mode="json"), sort_keys=False), "utf-8")
    return folder


def is_predictor(path: str | Path) -> bool:
    """Whether a run or model folder holds a head beside its encoder."""
    return any((folder / HEAD_CARD).is_file() for folder in (Path(path), Path(path) / "model"))


def load_predictor(path: str | Path) -> LoadedPredictor:
    """Load a predictor's folder or its run, strictly: every tensor of encoder and head and no other.

    Raises:
        CheckpointError: There is no predictor, it is damaged, or its head belongs to another encoder.
    """
    folder = model_folder(path)
    if not is_predictor(folder):
        raise CheckpointError(
            f"{path} is an encoder without a head", expected="a predictor", mend="Make one with ecotone finetune."
        )
    model = load_model(folder)
    try:
        card = HeadCard.model_validate(yaml.safe_load((folder / HEAD_CARD).read_text("utf-8")))
        state = load_file(folder / HEAD_WEIGHTS)
    except (OSError, ValidationError, yaml.YAMLError, SafetensorError) as error:
        raise CheckpointError(f"the head in {folder} is damaged, or of a newer version: {error}") from error
    for file, expected in ((WEIGHTS, card.encoder_sha256), (HEAD_WEIGHTS, card.weights_sha256)):
        if file_sha256(folder / file) != expected:
            raise CheckpointError(
                f"{folder / file} is not the file that {HEAD_CARD} was written for",
                found=f"sha256 {file_sha256(folder / file)}",
                expected=expected,
                mend="Get the folder again.",
            )
    head = build_head(card.kind, card.config)
    try:
        head.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"the head's weights in {folder} do not fit its card: {error}") from error
    predictor = Predictor(
        model.encoder, head, card.task, card.classes, thresholds=card.thresholds or None, scaling=card.scaling
    )
    return LoadedPredictor(predictor.eval(), card, model)
