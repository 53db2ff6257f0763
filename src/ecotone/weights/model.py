"""The deliverable of a run: ``model.safetensors`` and ``ecotone.yaml``, enough to use the encoder anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ecotone.encoders import Encoder, Readout, build_encoder
from ecotone.errors import CheckpointError
from ecotone.files import file_sha256, replacing
from ecotone.inputs import InputSpec

CARD, WEIGHTS = "ecotone.yaml", "model.safetensors"
METHOD = "method.safetensors"  # encoder and decoder, to go on training; beside a model, or in the folder of its run


class EncoderCard(BaseModel):
    """The architecture of an encoder."""

    model_config = ConfigDict(extra="forbid")
    kind: str
    config: dict[str, Any]
    readout: Readout
    image_size: int


class Card(BaseModel):
    """``ecotone.yaml``: what the weights are, what they accept and where they come from.

    Attributes:
        schema_version: Version of this layout.
        name: A name for people.
        encoder: The architecture; ``image_size`` is the side in pixels it was trained at.
        input: What the encoder accepts.
        weights_sha256: Of ``model.safetensors``; cards of older versions have none.
        recipe: The resolved recipe; empty for imported weights.
        provenance: Command, version, data, images seen and the like.
    """

    model_config = ConfigDict(extra="forbid")
    schema_version: Literal[1] = 1
    name: str
    encoder: EncoderCard
    input: InputSpec
    weights_sha256: str | None = None
    recipe: dict[str, Any] = {}
    provenance: dict[str, Any] = {}


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Attributes:
        encoder: Ready to use, in evaluation mode.
        card: The content of ``ecotone.yaml``.
        hash: SHA-256 of the weights, first 16 hexadecimal digits.
        folder: Where it was loaded from.
    """

    encoder: Encoder
    card: Card
    hash: str
    folder: Path
    name: str = field(default="")


def save_weights(module: nn.Module, file: Path) -> None:
    """Write the tensors of a module as safetensors, whole or not at all."""
    state = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    with replacing(file) as temporary:
        save_file(state, temporary, metadata={"format": "pt"})


def save_model(
    encoder: Encoder,
    folder: str | Path,
    *,
    name: str,
    image_size: int,
    recipe: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
) -> Path:
    """Write an encoder as a model folder. Each file is whole or absent; the card comes last.

    Raises:
        DataError: The folder cannot be written.
    """
    folder = Path(folder)
    save_weights(encoder, folder / WEIGHTS)
    card = Card(
        name=name,
        encoder=EncoderCard(kind=encoder.kind, config=encoder.config(), readout=encoder.readout, image_size=image_size),
        input=encoder.spec,
        weights_sha256=file_sha256(folder / WEIGHTS),
        recipe=recipe or {},
        provenance=provenance or {},
    )
    with replacing(folder / CARD) as temporary:
        temporary.write_text(yaml.safe_dump(card.model_dump(mode="json"), sort_keys=False), "utf-8")
    return folder


def model_folder(path: str | Path) -> Path:
    """The model folder that a path names: itself, the ``model`` folder of a run, or released weights by their name.

    Released weights (``ecotone weights list``) are downloaded and imported into the cache on first use.

    Raises:
        CheckpointError: There is no model there.
        DataError: Released weights cannot be downloaded.
    """
    from ecotone.weights.catalogue import catalogue
    from ecotone.weights.fetching import fetch_model  # which itself writes model folders

    path = Path(path)
    for folder in (path, path / "model"):
        if (folder / CARD).is_file() and (folder / WEIGHTS).is_file():
            return folder
    if not path.exists() and str(path) in catalogue():
        return fetch_model(str(path))
    found = "no such folder" if not path.exists() else "a file" if path.is_file() else "a folder without them"
    raise CheckpointError(
        f"{path} is not a model",
        found=found,
        expected=f"a run or model folder with {CARD} and {WEIGHTS}",
        mend="Give the folder that `ecotone pretrain --out` wrote, or a name that `ecotone weights list` prints.",
    )


def load_model(path: str | Path) -> Model:
    """Load a model folder or the model of a run, strictly: every tensor of the encoder and no other.

    Raises:
        CheckpointError: The folder is no model, is damaged, or its weights are not those of its card.
    """
    folder = model_folder(path)
    try:
        card = Card.model_validate(yaml.safe_load((folder / CARD).read_text("utf-8")))
        state = load_file(folder / WEIGHTS)
    except (ValidationError, yaml.YAMLError, SafetensorError) as error:
        raise CheckpointError(f"{folder} is damaged, or of a kind this version does not know: {error}") from error
    encoder = build_encoder(card.encoder.kind, card.input, card.encoder.readout, card.encoder.config)
    expected = {k: tuple(v.shape) for k, v in encoder.state_dict().items()}
    found = {k: tuple(v.shape) for k, v in state.items()}
    if expected != found:
        odd = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))
        raise CheckpointError(
            f"the weights in {folder} do not fit its card: {len(odd)} tensors differ, such as {', '.join(odd[:3])}",
            found=found.get(odd[0], "absent"),
            expected=expected.get(odd[0], "absent"),
        )
    encoder.load_state_dict(state, strict=True)
    digest = file_sha256(folder / WEIGHTS)
    if card.weights_sha256 not in (None, digest):
        raise CheckpointError(
            f"the weights in {folder} are not those that its card was written for",
            found=f"sha256 {digest}",
            expected=card.weights_sha256,
            mend="Get the folder again, or import it again.",
        )
    return Model(encoder.eval(), card, digest[:16], folder, card.name)


def save_method_state(state: Mapping[str, Tensor], folder: str | Path) -> Path:
    """Write the weights of a whole method, encoder and decoder, so that training can go on from them."""
    file = Path(folder) / METHOD
    with replacing(file) as temporary:
        save_file({k: v.detach().cpu().contiguous() for k, v in state.items()}, temporary, metadata={"format": "pt"})
    return file


def load_method_state(path: str | Path) -> dict[str, Tensor] | None:
    """The weights of the method that made a model, from its folder or that of its run; None if they were not kept.

    Raises:
        CheckpointError: There is no model, or the file is damaged.
    """
    folder = model_folder(path)
    file = next((f for f in (folder / METHOD, folder.parent / METHOD) if f.is_file()), None)
    try:
        return None if file is None else load_file(file)
    except SafetensorError as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error
