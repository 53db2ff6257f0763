"""Contestants: the encoders under evaluation and the floors they are judged beside."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ecotone.encoders import Encoder, Readout, python_encoder
from ecotone.encoders.foreign import PREFIX
from ecotone.errors import RecipeError
from ecotone.evaluation import floors
from ecotone.evaluation.cache import class_hash, module_hash
from ecotone.evaluation.features import Source, device_of, encode
from ecotone.evaluation.fitting import Fitting
from ecotone.evaluation.gsd_policy import Telling
from ecotone.weights import load_model


@dataclass(frozen=True)
class Entrant:
    """An encoder under evaluation: a name for the tables, and its hash and provenance where it comes from a folder."""

    name: str
    encoder: Encoder
    hash: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        """What two encoders must share for one random init to stand for both."""
        e = self.encoder
        return f"{type(e).__name__} {e.config()} {e.readout.model_dump_json()} {e.spec.model_dump_json()}"

    @property
    def code(self) -> str:
        """The architecture, and the hash of the file that defines it, which may lie outside this package."""
        return f"{self.architecture} {class_hash(type(self.encoder))}"


@dataclass(frozen=True)
class Contestant:
    """An encoder or a floor.

    Attributes:
        name: In tables and rows.
        floor: It owes nothing to pretraining.
        sources: One source of features for each seed, made from what may be learned from.
        identities: For each seed, what its features depend on besides the images.
        settings: For the row of the score.
        fitted: ``sources`` looks at the images.
        labelled: ``sources`` looks at the labels of train and val as well.
    """

    name: str
    floor: bool
    sources: Callable[[Fitting], Sequence[Source]]
    identities: Sequence[Mapping[str, Any]]
    settings: dict[str, Any] = field(default_factory=dict)
    fitted: bool = False
    labelled: bool = False

    def model(self, seed: int) -> str:
        """Hash of what one seed's features depend on besides the images, whatever the device."""
        return identity_hash(self.identities[seed])


def identity_hash(identity: Mapping[str, Any]) -> str:
    """First 16 hexadecimal digits of the SHA-256 of what features depend on, besides images and device."""
    content = {name: value for name, value in identity.items() if name != "device"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def load_entrants(models: Sequence[str | Path | Encoder], readout: Readout | None = None) -> list[Entrant]:
    """Models by path, or encoders, each under a name of its own; with this readout instead of their own, if given.

    Raises:
        CheckpointError: A path holds no model.
        RecipeError: No model is given.
    """
    if not models:
        raise RecipeError("no model to evaluate")
    entrants = [_load(m) for m in models]
    if readout is not None:
        for entrant in entrants:
            entrant.encoder.readout = readout
    taken = Counter(e.name for e in entrants)
    counted: Counter[str] = Counter()
    unique = []
    for e in entrants:
        counted[e.name] += 1
        name = e.name if taken[e.name] == 1 else f"{e.name} #{counted[e.name]}"
        unique.append(replace(e, name=name))
    return unique


def _load(model: str | Path | Encoder) -> Entrant:
    if isinstance(model, Encoder):
        return Entrant(model.kind, model)
    if str(model).startswith(PREFIX):
        return Entrant(str(model).rpartition(":")[2], python_encoder(str(model)).eval())
    loaded = load_model(model)
    folder = loaded.folder.resolve()
    return Entrant(
        folder.parent.name if folder.name == "model" else folder.name,
        loaded.encoder,
        loaded.hash,
        loaded.card.provenance,
    )


def encoder_contestants(entrants: Sequence[Entrant], tell: Telling) -> list[Contestant]:
    """One contestant for each encoder, which is told the GSD by this policy."""
    return [
        Contestant(
            e.name,
            False,
            lambda _, encoder=e.encoder: [encode(encoder, tell)],
            [
                {
                    "weights": module_hash(e.encoder),
                    "architecture": e.code,
                    "device": device_of(e.encoder).type,
                    "told": asdict(tell),
                }
            ],
            {"model": e.hash, "readout": e.encoder.readout.model_dump(mode="json")},
        )
        for e in entrants
    ]


def random_init_names(entrants: Sequence[Entrant]) -> dict[str, str]:
    """Entrant -> name of its random-init floor."""
    first: dict[str, str] = {}
    for e in entrants:
        first.setdefault(e.architecture, e.name)
    if len(first) == 1:
        return {e.name: floors.RANDOM_INIT for e in entrants}
    return {e.name: f"{floors.RANDOM_INIT} of {first[e.architecture]}" for e in entrants}


def assumed_gsd(entrants: Sequence[Entrant]) -> float | None:
    """The middle of the range that the first encoder with a range declares: the geometric one, for a ratio scale."""
    declared = [e.encoder.spec.optical.gsd for e in entrants if e.encoder.spec.optical.gsd]
    return math.sqrt(declared[0][0] * declared[0][1]) if declared else None


def architectures(entrants: Sequence[Entrant]) -> dict[str, Entrant]:
    """Name of a random-init floor -> the first entrant that it stands for."""
    names = random_init_names(entrants)
    found: dict[str, Entrant] = {}
    for e in entrants:
        found.setdefault(names[e.name], e)
    return found
