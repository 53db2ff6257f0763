"""Everything an evaluation needs before it reads features: checked options, sizes, GSD, contract."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ecotone import __version__
from ecotone.errors import DataError, RecipeError
from ecotone.evaluation.cache import FeatureCache
from ecotone.evaluation.contestants import (
    Contestant,
    Entrant,
    assumed_gsd,
    encoder_contestants,
)
from ecotone.evaluation.contract import Contract, Data, Gsd, Interval, ModelInput, Resize
from ecotone.evaluation.features import Progress, Reader, Standardiser
from ecotone.evaluation.floor_list import Shown, floor_contestants
from ecotone.evaluation.gsd_policy import Telling, telling
from ecotone.evaluation.protocols import Protocol
from ecotone.evaluation.results import ResultFolder
from ecotone.evaluation.scales import ScalePlan, Size, View, plan_scales, scales_of_gsds
from ecotone.evaluation.splits import Splits
from ecotone.evaluation.tasks import Task
from ecotone.heads.thresholds import RULE
from ecotone.samples import Image, Sample


@dataclass(frozen=True)
class Setup:
    """An evaluation that is ready to run.

    Attributes:
        splits: The data.
        entrants: The encoders.
        contestants: Encoders, then floors.
        protocols: How features are measured.
        plan: Sizes and scales.
        reader: Gives the batches.
        contract: The frozen settings.
        pitch: Metres per pixel of the images at scale 1; None where it is unknown or differs from image to image.
        on_progress: Told of progress.
        cache: Where features are kept; None keeps none.
        left_out: A sentence for each floor that would cost too much.
        tell: The GSD that encoders are told.
        results: Where scores are kept; None keeps none.
        compare: The models are rivals: each is judged, and against each other; otherwise they are judged on average.
    """

    splits: Splits
    entrants: list[Entrant]
    contestants: list[Contestant]
    protocols: tuple[Protocol, ...]
    plan: ScalePlan
    reader: Reader
    contract: Contract
    pitch: float | None
    on_progress: Progress | None
    cache: FeatureCache | None = None
    left_out: Sequence[str] = ()
    tell: Telling = field(default_factory=Telling)
    results: ResultFolder | None = None
    compare: bool = False

    @property
    def task(self) -> Task:
        return self.splits.task

    @property
    def metrics(self) -> dict[str, tuple[str, ...]]:
        """Protocol -> what is measured, the main metric first."""
        return self.contract.metrics

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the labels."""
        return self.splits.info.classes

    def scales(self) -> list[float]:
        """The scales that can be fed."""
        return [s for s in self.plan.scales if not self.refusal(s)]

    def refusal(self, scale: float) -> str | None:
        """Why this scale cannot be scored, or None if it can."""
        refused = self.plan.refusal(scale)
        if refused or scale == 1 or self.pitch is None or self.contract.gsd.policy != "pitch":
            return refused
        fed = self.pitches(self.plan.test_view(scale))[0] or self.pitch
        for entrant in self.entrants:
            allowed = entrant.encoder.spec.optical.gsd
            if allowed and not allowed[0] * 0.99 <= fed <= allowed[1] * 1.01:
                return f"scale {scale:g} has {fed:g} m pixels; {entrant.name} takes {allowed[0]:g} to {allowed[1]:g} m"
        return None

    def standardiser(self, train: Tensor) -> Standardiser:
        """What is done to features, by the contract and by those of train (N, D)."""
        return Standardiser.none(train) if self.contract.standardise == "none" else Standardiser.of(train)

    def pitches(self, view: View) -> tuple[float | None, float | None]:
        """Metres per pixel that are fed, and metres of detail in them."""
        if self.pitch is None:
            return None, None
        fed, reduced = (math.sqrt(math.prod(self.plan.size) / math.prod(s)) for s in (view.fed, view.reduced))
        return self.pitch * fed, self.pitch * reduced


def prepare(
    splits: Splits,
    entrants: list[Entrant],
    protocols: tuple[Protocol, ...],
    *,
    scales: Sequence[float],
    gsds: Sequence[float],
    scale_protocol: str,
    gsd_policy: str,
    seeds: int,
    floors: bool,
    standardise: bool,
    batch_size: int,
    on_progress: Progress | None,
    cache: Path | None = None,
) -> Setup:
    """Look at a few train images, fix sizes and GSD, write the contract."""
    specs = [e.encoder.spec for e in entrants]
    roles = tuple(dict.fromkeys(role for spec in specs for role in spec.roles))
    size, looks = _common_size(splits, roles[0])
    multiple = math.lcm(*(s.size_multiple for s in specs))
    shown = Shown.by(looks, roles[0])
    gsd, assumed = _gsd(splits, looks[0].images[roles[0]], entrants, shown, size)
    fit = size[0] // multiple * multiple, size[1] // multiple * multiple
    pitch = None if gsd.metres is None or not all(fit) else gsd.metres * math.sqrt(math.prod(size) / math.prod(fit))
    asked = scales_of_gsds(gsds, pitch) if gsds else scales
    plan = plan_scales(scale_protocol, asked, size, multiple=multiple, min_size=max(s.min_size for s in specs))
    known = [side / math.sqrt(math.prod(plan.size)) for side in shown.sides] or ([pitch] if pitch else [])
    tell = telling(gsd_policy, known, plan.pitch_factors())
    gsd = gsd.model_copy(update={"policy": tell.policy, "fixed": tell.fixed})
    floor_seeds = tuple(range(seeds))
    listed, left_out = floor_contestants(entrants, floor_seeds, splits, shown, tell) if floors else ([], [])
    return Setup(
        splits=splits,
        entrants=entrants,
        contestants=encoder_contestants(entrants, tell) + listed,
        protocols=protocols,
        plan=plan,
        reader=Reader(roles, plan.size, assumed, batch_size),
        contract=_contract(splits, entrants, protocols, plan, tuple(sorted(set(gsds))), gsd, floor_seeds, standardise),
        pitch=pitch,
        on_progress=on_progress,
        cache=_cache(splits, cache),
        left_out=left_out,
        tell=tell,
    )


def _cache(splits: Splits, folder: Path | None) -> FeatureCache | None:
    if folder is None:
        return None
    if splits.files is None:
        raise RecipeError("only features of a dataset folder can be kept", found="datasets that are open already")
    return FeatureCache(folder, f"{splits.files} {splits.manifest_hash()} {splits.split_hash()}")


def _common_size(splits: Splits, role: str, looks: int = 32) -> tuple[Size, list[Sample]]:
    """The most frequent size among some train images spread evenly, and these samples."""
    step = max(1, len(splits.train) // looks)
    samples = [splits.train[i] for i in range(0, len(splits.train), step)]
    if role not in samples[0].images:
        raise DataError(f"the dataset has no {role} images", found=", ".join(samples[0].images), expected=role)
    images = [s.images[role] for s in samples]
    (height, width), _ = Counter(tuple(i.pixels.shape[-2:]) for i in images).most_common(1)[0]
    return (height, width), samples


def _gsd(splits: Splits, first: Image, entrants: list[Entrant], shown: Shown, size: Size) -> tuple[Gsd, float | None]:
    """What the contract says of the GSD, and the value to assume for images that say nothing."""
    info = splits.info
    if first.gsd is not None:
        shared = None if shown.gsds else shown.sides[0] / math.sqrt(math.prod(size))
        return Gsd(source=info.gsd_source, metres=info.gsd or shared), None
    assumed = assumed_gsd(entrants)
    if assumed:
        warnings.warn(
            f"{info.name} does not say its GSD: {assumed:g} m is assumed, the middle of the model's range. Give --gsd.",
            stacklevel=2,
        )
    return Gsd(source="assumed" if assumed else "unknown", metres=assumed), assumed


def _contract(
    splits: Splits,
    entrants: list[Entrant],
    protocols: tuple[Protocol, ...],
    plan: ScalePlan,
    gsds: tuple[float, ...],
    gsd: Gsd,
    seeds: tuple[int, ...],
    standardise: bool,
) -> Contract:
    info = splits.info
    distinct = {
        (e.encoder.spec.model_dump_json(), e.encoder.readout.model_dump_json()): ModelInput(
            spec=e.encoder.spec, readout=e.encoder.readout
        )
        for e in entrants
    }
    return Contract(
        ecotone=__version__,
        data=Data(
            name=info.name,
            content=splits.content,
            manifest=splits.manifest_hash(),
            split=splits.split_hash(),
            split_kind=info.split_kind,
            n=splits.n,
            label_unit=info.label_unit,
            sensor=info.sensor,
            bands=info.bands,
            unit=info.unit,
        ),
        inputs=tuple(distinct[key] for key in sorted(distinct)),
        resize=Resize(
            size=plan.size, multiple=plan.multiple, scale_protocol=plan.protocol, scales=plan.scales, gsds=gsds
        ),
        gsd=gsd,
        task=splits.task.name,
        protocols={p.name: p.model_dump(mode="json", exclude={"name"}) for p in protocols},
        metrics={p.name: p.metrics(splits.task) for p in protocols},
        thresholds=RULE if splits.task.name == "multilabel" else None,
        standardise="train z-score" if standardise else "none",
        seeds=seeds,
        interval=Interval(draws=splits.task.draws),
    )
