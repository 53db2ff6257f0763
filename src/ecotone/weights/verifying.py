"""Does a model folder hold what it says, does it compute, and is it what the authors released?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecotone.encoders import Features
from ecotone.errors import CheckpointError
from ecotone.files import file_sha256
from ecotone.weights.importing import adopt
from ecotone.weights.model import METHOD, WEIGHTS, Model, load_method_state, load_model
from ecotone.weights.official import read_checkpoint
from ecotone.weights.probing import synthetic_batch


@dataclass(frozen=True)
class Verification:
    """What was found right; whatever is wrong raises.

    Attributes:
        folder: The model folder.
        sha256: Of the weights.
        hash_known: Whether the card names this hash; cards of older versions name none.
        tensors: Tensors of the encoder.
        parameters: Numbers in them, all finite.
        image_size: Side in pixels of the synthetic images that were encoded.
        pooled: Shape of their vectors.
        maps: Shapes of their maps.
        against: The official file that every tensor equals after conversion.
        compared: How many tensors were compared with it, encoder and decoder.
    """

    folder: str
    sha256: str
    hash_known: bool
    tensors: int
    parameters: int
    image_size: int
    pooled: tuple[int, ...]
    maps: tuple[tuple[int, ...], ...]
    against: str | None = None
    compared: int = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def verify(path: str | Path, against: str | Path | None = None) -> Verification:
    """Hash, load strictly, look at every number, encode two synthetic images, and compare with the official file.

    Args:
        path: Model folder, run or catalogue name.
        against: The official file that it was imported from.

    Raises:
        CheckpointError: Anything is wrong; the message says what.
    """
    model = load_model(path)  # strict, and the hash is the card's
    state = model.encoder.state_dict()
    _check_finite(state, model.folder)
    features = _encode(model)
    return Verification(
        folder=str(model.folder),
        sha256=file_sha256(model.folder / WEIGHTS),
        hash_known=model.card.weights_sha256 is not None,
        tensors=len(state),
        parameters=sum(v.numel() for v in state.values()),
        image_size=model.card.encoder.image_size,
        pooled=tuple(features.pooled.shape),
        maps=tuple(tuple(m.shape) for m in features.maps),
        against=None if against is None else str(against),
        compared=0 if against is None else _compare(model, against),
    )


def _check_finite(tensors: Mapping[str, Tensor], folder: Path) -> None:
    spoilt = sorted(k for k, v in tensors.items() if not bool(v.isfinite().all()))
    if spoilt:
        raise CheckpointError(f"{folder} holds values that are not finite, in {', '.join(spoilt[:3])}")


def _encode(model: Model) -> Features:
    """Features of synthetic images: finite, and of the sizes that the encoder's width and strides promise."""
    size = model.card.encoder.image_size
    with torch.inference_mode():
        features = model.encoder(synthetic_batch(model.card.input, size))
    if not all(bool(t.isfinite().all()) for t in (features.pooled, *features.maps)):
        raise CheckpointError(f"{model.folder} makes features that are not finite of {size} px of noise")
    for tensor, stride in zip(features.maps, features.strides, strict=True):
        if tuple(tensor.shape[-2:]) != (size // stride,) * 2:
            raise CheckpointError(
                f"{model.folder} makes a map of the wrong size at stride {stride}",
                found=tuple(tensor.shape),
                expected=f"{size // stride} x {size // stride} cells",
            )
    return features


def _compare(model: Model, against: str | Path) -> int:
    """How many tensors equal those of the official file, encoder and decoder; any that does not is an error."""
    made = model.card.provenance.get("method")
    if not isinstance(made, Mapping) or "imported_from" not in model.card.provenance:
        raise CheckpointError(f"{model.folder} was not imported from an official file: there is nothing to compare")
    config = made.get("config")
    fresh = adopt(
        read_checkpoint(against),
        made["kind"],
        heads=model.encoder.config().get("heads"),
        decoder_heads=(config or {}).get("decoder_heads"),
        encoder_only=config is None,
        allow=model.card.provenance.get("allowed", ()),
    )
    pairs = [(model.folder / WEIGHTS, model.encoder.state_dict(), fresh.encoder.state_dict())]
    if fresh.method is not None:
        pairs.append((model.folder / METHOD, load_method_state(model.folder) or {}, fresh.method.state_dict()))
    for file, ours, theirs in pairs:
        odd = sorted(k for k in ours.keys() | theirs.keys() if not _equal(ours.get(k), theirs.get(k)))
        if odd:
            raise CheckpointError(
                f"{file} is not what {Path(against).name} converts to: {len(odd)} of {len(theirs)} tensors differ",
                found=", ".join(odd[:3]),
                mend="Import the file again.",
            )
    return len(pairs[-1][2])


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and torch.equal(a, b)
