"""A card for each model: what it is, what it takes, what it cost, where it comes from, how it scored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch.utils.flop_counter import FlopCounterMode

from ecotone.encoders import Encoder
from ecotone.errors import DataError
from ecotone.evaluation.contestants import Entrant
from ecotone.evaluation.features import device_of
from ecotone.evaluation.scoring import Outcome
from ecotone.evaluation.setup import Setup
from ecotone.metrics import METRICS
from ecotone.samples import Batch, collate


@dataclass(frozen=True)
class Budget:
    """What a model costs. What its provenance does not record is None: unknown.

    Attributes:
        parameters: Of the encoder.
        gflop: Of one forward pass over one image of the size at scale 1; a multiplication and an addition count 2.
            Matrix products, convolutions and attention are counted, nothing else.
        dimension: Numbers in one embedding.
        pretraining_images: Images seen, each repeat counted.
        pretraining_tflop: Of all of pretraining.
        pretraining_core_hours: Cores times hours.
    """

    parameters: int
    gflop: float
    dimension: int
    pretraining_images: int | None = None
    pretraining_tflop: float | None = None
    pretraining_core_hours: float | None = None


@dataclass(frozen=True)
class CardScore:
    """A score of the main metric at the largest scale, beside the best floor."""

    protocol: str
    scale: float
    metric: str
    value: float
    ci95: tuple[float, float]
    best_floor: str | None
    best_floor_value: float | None


@dataclass(frozen=True)
class ModelCard:
    """One model of an evaluation.

    Attributes:
        name: In tables.
        hash: First 16 digits of the SHA-256 of its weights file; None for an encoder in memory.
        kind: Of encoder.
        budget: What it costs.
        inputs: Role -> sensor, bands, unit, normaliser, GSD range in metres.
        readout: Pooling and layers.
        provenance: As its folder records it.
        scores: For each protocol.
    """

    name: str
    hash: str | None
    kind: str
    budget: Budget
    inputs: dict[str, dict[str, Any]]
    readout: dict[str, Any]
    provenance: dict[str, Any]
    scores: list[CardScore] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For the JSON file."""
        return asdict(self)


def read_card(file: Path) -> ModelCard | None:
    """A card that was kept, or None where there is none.

    Raises:
        DataError: It is damaged.
    """
    if not file.is_file():
        return None
    try:
        return TypeAdapter(ModelCard).validate_json(file.read_text("utf-8"))
    except (ValidationError, OSError) as error:
        raise DataError(f"the card {file} is damaged", mend="Evaluate the model into that folder again.") from error


def budgets(setup: Setup) -> dict[str, Budget]:
    """What each encoder costs, by name. One train image is read."""
    sample = setup.reader.fit(setup.splits.train[0])
    batch = collate([sample])
    view = setup.plan.train_view(1.0)
    batch = batch.replace_images(**{role: view.apply(image) for role, image in batch.images.items()})
    batch = setup.tell(batch)
    return {e.name: _budget(e, batch) for e in setup.entrants}


def cards(setup: Setup, outcomes: Sequence[Outcome], costs: Mapping[str, Budget]) -> list[ModelCard]:
    """A card for each encoder under evaluation."""
    return [_card(setup, e, costs[e.name], outcomes) for e in setup.entrants]


def forward_gflop(encoder: Encoder, batch: Batch) -> tuple[float, int]:
    """Billions of operations of one forward pass per image of a raw batch, and the length of the embedding."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        # Not called but forwarded: hooks that watch an evaluation see its own images alone.
        pooled = encoder.forward(batch.to(device_of(encoder))).pooled
    return counter.get_total_flops() / len(batch) / 1e9, pooled.shape[1]


def recorded(provenance: Mapping[str, Any], name: str) -> float | None:
    """A number of a model's provenance, or None: unknown."""
    value = provenance.get(name)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _budget(entrant: Entrant, batch: Batch) -> Budget:
    encoder, known = entrant.encoder, entrant.provenance
    gflop, dimension = forward_gflop(encoder, batch)
    images = recorded(known, "images_seen")
    return Budget(
        parameters=sum(p.numel() for p in encoder.parameters()),
        gflop=gflop,
        dimension=dimension,
        pretraining_images=None if images is None else int(images),
        pretraining_tflop=recorded(known, "training_tflop"),
        pretraining_core_hours=recorded(known, "core_hours"),
    )


def _card(setup: Setup, entrant: Entrant, budget: Budget, outcomes: Sequence[Outcome]) -> ModelCard:
    encoder = entrant.encoder
    inputs = {
        role: {
            "sensor": spec.sensor,
            "bands": list(spec.bands),
            "unit": spec.unit,
            "normaliser": spec.normaliser.kind,
            "gsd": list(spec.gsd) if spec.gsd else None,
        }
        for role, spec in encoder.spec.roles.items()
    }
    mine = [o for o in outcomes if o.contestant == entrant.name and o.scale == max(setup.scales())]
    scores = [card_score(o, outcomes, setup.contract.interval.level) for o in mine]
    readout = encoder.readout.model_dump(mode="json")
    return ModelCard(
        entrant.name, entrant.hash, encoder.kind, budget, inputs, readout, _plain(entrant.provenance), scores
    )


def _plain(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON holds it; dates become text."""
    return json.loads(json.dumps(provenance, default=str))


def card_score(o: Outcome, outcomes: Sequence[Outcome], level: float) -> CardScore:
    """The main score of an encoder beside the best floor under the same protocol at the same scale."""
    floors = [f for f in outcomes if f.floor and (f.protocol, f.scale) == (o.protocol, o.scale)]
    best = max(floors, key=lambda f: METRICS[f.metric].gain(f.main.value), default=None)
    interval = o.main.interval(level)
    return CardScore(
        o.protocol,
        o.scale,
        o.metric,
        o.main.value,
        interval,
        best and best.contestant,
        None if best is None else best.main.value,
    )
