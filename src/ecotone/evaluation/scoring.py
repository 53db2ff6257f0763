"""The two halves of an evaluation: choose on train and val, then read test once and score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ecotone.evaluation.contestants import Contestant, identity_hash
from ecotone.evaluation.contract import Contract
from ecotone.evaluation.extraction import Extraction
from ecotone.evaluation.features import FeatureSet, Standardiser
from ecotone.evaluation.floors import CHANCE
from ecotone.evaluation.intervals import Estimate, average, bootstrap
from ecotone.evaluation.protocols import Fitted
from ecotone.evaluation.result_files import Question
from ecotone.evaluation.results import Kept, Recalled
from ecotone.evaluation.setup import Setup
from ecotone.evaluation.splits import Selection
from ecotone.metrics import METRICS, Answers


@dataclass(frozen=True)
class Outcome:
    """How one contestant did on the test split.

    Attributes:
        contestant: Its name.
        floor: It owes nothing to pretraining.
        protocol: Name of the protocol.
        scale: Relative scale.
        answers: One for each seed; none for an average of models.
        settings: For the row of the score.
        estimates: Metric -> its value and bootstrap draws, averaged over seeds or models; the main metric first. The
            draws are the same for all outcomes.
        seed_values: Metric -> the value of each seed, where there are several.
    """

    contestant: str
    floor: bool
    protocol: str
    scale: float
    answers: tuple[Answers, ...]
    settings: dict[str, Any]
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    seed_values: Mapping[str, list[float]] = field(default_factory=dict)

    @property
    def metric(self) -> str:
        """The main metric."""
        return next(iter(self.estimates))

    @property
    def main(self) -> Estimate:
        """The estimate of the main metric."""
        return self.estimates[self.metric]


@dataclass
class Preparation:
    """What the train images made: sources of features, standardisers, what chance answers, and notes for the report."""

    extraction: Extraction
    standardisers: dict[tuple[str, float], list[Standardiser]] = field(default_factory=dict)
    heads: dict[tuple[str, str, float], list[Fitted]] = field(default_factory=dict)
    chance: dict[str, Fitted] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def select(setup: Setup) -> tuple[Selection, Preparation]:
    """Fit every contestant under every protocol on train and choose on val. The test split is not touched."""
    made = Preparation(Extraction(setup))
    for train_scale in dict.fromkeys(setup.plan.train_scale(s) for s in setup.scales()):
        view = setup.plan.train_view(train_scale)
        train = made.extraction.features(setup.splits.train, "train", view, view)
        val = made.extraction.features(setup.splits.val, "val", view, view)
        labels = next(iter(train.values()))[0], next(iter(val.values()))[0]
        made.chance = {p.name: p.chance(*labels, setup.task) for p in setup.protocols}
        for contestant in setup.contestants:
            name = contestant.name
            pairs = list(zip(train[name], val[name], strict=True))
            standard = [setup.standardiser(t.features) for t, _ in pairs]
            made.standardisers[name, train_scale] = standard
            made.warnings += _constant_features(name, pairs[0][0])
            for p in setup.protocols:
                chosen = [
                    _recalled(setup, contestant, seed, p.name, train_scale)
                    or p.select(FeatureSet(s(t.features), t.labels), FeatureSet(s(v.features), v.labels), setup.task)
                    for seed, (s, (t, v)) in enumerate(zip(standard, pairs, strict=True))
                ]
                made.heads[name, p.name, train_scale] = chosen
                made.warnings += _not_converged(name, p.title, chosen)
    return Selection(setup.contract, made.heads), made


def score(setup: Setup, selection: Selection, made: Preparation) -> tuple[list[Outcome], dict[str, FeatureSet]]:
    """Read the test split at every scale and score it.

    Returns:
        The outcomes, and the encoders' standardised test features at the largest scale.
    """
    test = setup.splits.test_for(selection)
    outcomes: list[Outcome] = []
    embeddings: dict[str, FeatureSet] = {}
    for scale in setup.scales():
        train_scale = setup.plan.train_scale(scale)
        view = setup.plan.test_view(scale)
        found = made.extraction.features(test, "test", view, setup.plan.train_view(train_scale))
        for contestant in setup.contestants:
            standard = made.standardisers[contestant.name, train_scale]
            features = [
                FeatureSet(s(f.features), f.labels) for s, f in zip(standard, found[contestant.name], strict=True)
            ]
            outcomes += _outcomes(setup, contestant, features, scale, selection.heads)
            if not contestant.floor and contestant.name not in embeddings:
                embeddings[contestant.name] = features[0]
        if any(c.floor for c in setup.contestants):
            outcomes += _chance(setup, next(iter(found.values()))[0], scale, made.chance)
    outcomes = estimated(setup.contract, outcomes)
    return outcomes + list(_mean_of_models(setup, outcomes)), embeddings


def _outcomes(
    setup: Setup,
    contestant: Contestant,
    features: Sequence[FeatureSet],
    scale: float,
    heads: Mapping[tuple[str, str, float], Sequence[Fitted]],
) -> Iterator[Outcome]:
    for p in setup.protocols:
        chosen = heads[contestant.name, p.name, setup.plan.train_scale(scale)]
        kept = [
            _kept(setup, _question(contestant, seed, p.name, scale), head, f)
            for seed, (head, f) in enumerate(zip(chosen, features, strict=True))
        ]
        settings = {
            **contestant.settings,
            **(kept[0].settings if len(kept) == 1 else {"each_seed": [k.settings for k in kept]}),
            "features": features[0].features.shape[1],
            **_input_settings(setup, scale),
        }
        answers = tuple(k.answers for k in kept)
        yield Outcome(contestant.name, contestant.floor, p.name, scale, answers, settings)


def _chance(setup: Setup, test: FeatureSet, scale: float, chance: Mapping[str, Fitted]) -> Iterator[Outcome]:
    model = identity_hash({"floor": CHANCE})
    for name, blind in chance.items():
        question = Question(contestant=CHANCE, floor=True, model=model, protocol=name, scale=scale, seed=0)
        kept = _kept(setup, question, blind, test)
        settings = {**kept.settings, **_input_settings(setup, scale)}
        yield Outcome(CHANCE, True, name, scale, (kept.answers,), settings)


def _question(contestant: Contestant, seed: int, protocol: str, scale: float) -> Question:
    return Question(
        contestant=contestant.name,
        floor=contestant.floor,
        model=contestant.model(seed),
        protocol=protocol,
        scale=scale,
        seed=seed,
    )


def _recalled(setup: Setup, contestant: Contestant, seed: int, protocol: str, train_scale: float) -> Fitted | None:
    """A stand-in for a head whose answers at every scale are in the folder of results."""
    scales = [s for s in setup.scales() if setup.plan.train_scale(s) == train_scale]
    asked = [_question(contestant, seed, protocol, scale) for scale in scales]
    kept = [setup.results and setup.results.recall(q, setup.metrics[protocol]) for q in asked]
    return Recalled(kept[0].settings) if kept[0] and all(kept) else None


def _kept(setup: Setup, question: Question, head: Fitted, test: FeatureSet) -> Kept:
    """The answers to a question and the choices behind them: from the folder of results, or new and added to it."""
    metrics = setup.metrics[question.protocol]
    if setup.results is None:
        return Kept(head.answer(test), head.settings)
    kept = setup.results.recall(question, metrics)
    return kept or setup.results.add(question, metrics, Kept(head.answer(test), head.settings))


def estimated(contract: Contract, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes with their metrics, all over the same bootstrap draws."""
    asked = [(i, name, a) for i, o in enumerate(outcomes) for name in contract.metrics[o.protocol] for a in o.answers]
    found = bootstrap([METRICS[name].of(a) for _, name, a in asked], contract.data.n["test"], contract.interval)
    each: list[dict[str, list[Estimate]]] = [{} for _ in outcomes]
    for (i, name, _), estimate in zip(asked, found, strict=True):
        each[i].setdefault(name, []).append(estimate)
    done = []
    for o, mine in zip(outcomes, each, strict=True):
        estimates = {name: average(seeds) for name, seeds in mine.items()}
        values = {name: [e.value for e in seeds] for name, seeds in mine.items() if len(seeds) > 1}
        done.append(replace(o, estimates=estimates, seed_values=values))
    return done


def _mean_of_models(setup: Setup, outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
    """When several models are given, how they do on average."""
    if len(setup.entrants) < 2 or setup.compare:
        return
    names = [e.name for e in setup.entrants]
    for p in setup.protocols:
        for scale in setup.scales():
            each = [o for o in outcomes if o.contestant in names and (o.protocol, o.scale) == (p.name, scale)]
            means = {name: average([o.estimates[name] for o in each]) for name in setup.metrics[p.name]}
            settings = {"models": names, **_input_settings(setup, scale)}
            yield Outcome(mean_name(len(names)), False, p.name, scale, (), settings, means)


def mean_name(models: int) -> str:
    """The name of the average of several models in tables and rows."""
    return f"mean of {models} models"


def _input_settings(setup: Setup, scale: float) -> dict[str, Any]:
    view = setup.plan.test_view(scale)
    gsd, effective = setup.pitches(view)
    told = setup.contract.gsd
    return {
        "size": list(view.fed),
        "reduced": list(view.reduced),
        "gsd": gsd if told.policy == "pitch" else told.fixed,
        "gsd_policy": told.policy,
        "effective_gsd": effective,
        "gsd_source": setup.contract.gsd.source,
    }


def _constant_features(name: str, train: FeatureSet) -> list[str]:
    constant = int((train.features.std(0, correction=0) <= 1e-8).sum())
    width = train.features.shape[1]
    return [f"{name}: {constant} of {width} features are constant over the train images."] if constant else []


def _not_converged(name: str, title: str, chosen: Sequence[Fitted]) -> list[str]:
    lost = any(c.settings.get("converged") is False for c in chosen)
    return [f"{name}: the fit of “{title}” had not converged when its iterations ran out."] if lost else []
