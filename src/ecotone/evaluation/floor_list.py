"""Which floors stand beside the encoders on this data, and why one is left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ecotone.evaluation import floors
from ecotone.evaluation.contestants import Contestant, Entrant, architectures
from ecotone.evaluation.features import Source, device_of, encode
from ecotone.evaluation.fitting import Fitting
from ecotone.evaluation.gsd_policy import Telling
from ecotone.evaluation.histograms import COLOURS, GRADIENTS, ColourHistograms, GradientHistograms
from ecotone.evaluation.metadata_probes import GSD_ONLY, LOCATION, LocationProbe, gsd_features
from ecotone.evaluation.small_network import BUDGET, SETTINGS, SMALL_NETWORK, SmallNetwork, shrunk
from ecotone.evaluation.splits import Splits
from ecotone.samples import Sample


@dataclass(frozen=True)
class Shown:
    """What a look at some train samples tells of all.

    Attributes:
        places: They have places, and not all the same.
        sides: Metres on the ground along one side (the root of the area) of each that says its GSD.
    """

    places: bool
    sides: tuple[float, ...]

    @property
    def gsds(self) -> bool:
        """Their metres per pixel differ when all have one size."""
        return len(self.sides) > 1 and max(self.sides) > 1.01 * min(self.sides)

    @classmethod
    def by(cls, samples: Sequence[Sample], role: str) -> Shown:
        """What these samples show; their images are of this role."""
        places = [s.place for s in samples]
        images = [s.images[role] for s in samples]
        return cls(
            places=None not in places and len({(p.lon, p.lat) for p in places if p}) > 1,
            sides=tuple(i.gsd * math.sqrt(math.prod(i.pixels.shape[-2:])) for i in images if i.gsd is not None),
        )


def floor_contestants(
    entrants: Sequence[Entrant], seeds: Sequence[int], splits: Splits, shown: Shown, tell: Telling
) -> tuple[list[Contestant], list[str]]:
    """The floors, and a sentence for each that is left out because it would cost too much.

    One random init stands for each distinct architecture; the probes of metadata stand only where there are some.
    Chance needs no features and is scored apart.
    """
    listed = [
        _plain(floors.STATISTICS, floors.image_statistics),
        _fitted(COLOURS, lambda fitting: ColourHistograms(fitting.images)),
        _fitted(GRADIENTS, lambda fitting: GradientHistograms(fitting.images)),
        _random(
            floors.RANDOM_CONVOLUTIONS,
            lambda fitting: [floors.RandomConvolutions(fitting.images, seed=s) for s in seeds],
            seeds,
            fitted=True,
        ),
        *_random_inits(entrants, seeds, tell),
    ]
    if shown.places:
        listed.append(_random(LOCATION, lambda _: [LocationProbe(s) for s in seeds], seeds))
    if shown.gsds:
        listed.append(_plain(GSD_ONLY, gsd_features))
    n = splits.n["train"]
    if n > BUDGET:
        lost = f"The {SMALL_NETWORK} is left out: its budget of {BUDGET} images is less than one pass over {n}."
        return listed, [lost]
    return [*listed, _small_network(entrants[0], seeds, splits)], []


def _plain(name: str, source: Source) -> Contestant:
    return Contestant(name, True, lambda _: [source], [{"floor": name}])


def _fitted(name: str, make: Callable[[Fitting], Source]) -> Contestant:
    return Contestant(name, True, lambda fitting: [make(fitting)], [{"floor": name}], fitted=True)


def _random(
    name: str,
    sources: Callable[[Fitting], Sequence[Source]],
    seeds: Sequence[int],
    *,
    fitted: bool = False,
    settings: dict[str, Any] | None = None,
    **identity: Any,
) -> Contestant:
    """A floor that is averaged over seeds."""
    identities = [{"floor": name, "seed": s, **identity} for s in seeds]
    return Contestant(name, True, sources, identities, {"seeds": list(seeds), **(settings or {})}, fitted)


def _random_inits(entrants: Sequence[Entrant], seeds: Sequence[int], tell: Telling) -> list[Contestant]:
    return [
        _random(
            name,
            lambda _, encoder=entrant.encoder: [encode(floors.random_init(encoder, s), tell) for s in seeds],
            seeds,
            settings={"readout": entrant.encoder.readout.model_dump(mode="json")},
            of=entrant.code,
            device=device_of(entrant.encoder).type,
            told=asdict(tell),
        )
        for name, entrant in architectures(entrants).items()
    ]


def _small_network(entrant: Entrant, seeds: Sequence[int], splits: Splits) -> Contestant:
    device = device_of(entrant.encoder)

    def sources(fitting: Fitting) -> list[Source]:
        train, val = fitting.labelled(shrunk, f"for the {SMALL_NETWORK}")
        return [SmallNetwork(train, val, splits.task, seed=s, device=device, tell=fitting.on_progress) for s in seeds]

    listed = _random(SMALL_NETWORK, sources, seeds, fitted=True, settings=SETTINGS, device=device.type)
    return replace(listed, labelled=True)
