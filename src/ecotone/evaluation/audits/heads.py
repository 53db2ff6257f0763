"""Regret of choosing on val: what the best head or readout on test would have scored. Reported, never used."""

from __future__ import annotations

from collections.abc import Sequence

from ecotone.encoders import Encoder, Readout
from ecotone.encoders.base import Pooling
from ecotone.evaluation.audits.base import Figure, Finding, choice, figure
from ecotone.evaluation.audits.variants import Variants, variant
from ecotone.evaluation.contestants import Contestant
from ecotone.evaluation.features import FeatureSet
from ecotone.evaluation.intervals import bootstrap
from ecotone.evaluation.protocols import Fitted, Protocol
from ecotone.evaluation.protocols.base import Head
from ecotone.evaluation.scoring import Preparation
from ecotone.evaluation.setup import Setup
from ecotone.evaluation.splits import Selection
from ecotone.metrics import METRICS, Answers, Metric

LAYERS = ((-1,), (-2,), (-2, -1))
CHOSEN, BEST = "{} chosen on val", "{} best on test"
NOTE = (
    "What was chosen on val, and what of the same candidates would have been best on test. The difference is the "
    "regret: what choosing on test would have added to a score without the model being any better. Heads: the "
    "candidates of each protocol's grid. Readouts: poolings and layers of each encoder. Best on test is never a score."
)


def heads(setup: Setup, selection: Selection, made: Preparation) -> Finding:
    """The regret of every choice of a head, and of readouts that are tried for each encoder."""
    figures: list[Figure] = []
    for entrant, contestant in zip(setup.entrants, setup.contestants, strict=False):
        readouts = Variants(setup, _readouts(setup, entrant.encoder))
        train, val = readouts.train_and_val()
        fitted = {p: {n: p.select(train[n], val[n], setup.task) for n in train} for p in setup.protocols}
        # All choices are made: only now is the test split read.
        test = readouts.test(setup.splits.test_for(selection))
        own = next(iter(test))
        for p in setup.protocols:
            metric = METRICS[setup.metrics[p.name][0]]
            figures += _of_grid(setup, contestant, p, metric, fitted[p][own], test[own])
            gains = [metric.gain(metric.value(f.answer(val[n]))) for n, f in fitted[p].items()]
            answers = [f.answer(test[n]) for n, f in fitted[p].items()]
            figures += _regret(setup, contestant, p, metric, "readout", list(test), gains.index(max(gains)), answers)
    return Finding(
        name="heads",
        title="Regret of the choices",
        note=NOTE,
        settings={"layers": [list(each) for each in LAYERS]},
        figures=figures,
    )


def _of_grid(
    setup: Setup, contestant: Contestant, p: Protocol, metric: Metric, fitted: Fitted, test: FeatureSet
) -> list[Figure]:
    """The regret of the protocol's grid; nothing where it chooses nothing."""
    if not isinstance(fitted, Head) or len(fitted.tried) < 2:
        return []
    names = [choice(settings) for settings, _ in fitted.tried]
    chosen = next(i for i, (s, _) in enumerate(fitted.tried) if s.items() <= fitted.settings.items())
    answers = [setup.task.judge(predict(test.features), test.labels, fitted.thresholds) for _, predict in fitted.tried]
    return _regret(setup, contestant, p, metric, "head", names, chosen, answers)


def _regret(
    setup: Setup,
    contestant: Contestant,
    p: Protocol,
    metric: Metric,
    what: str,
    names: Sequence[str],
    chosen: int,
    answers: Sequence[Answers],
) -> list[Figure]:
    estimates = bootstrap([metric.of(a) for a in answers], len(answers[0]), setup.contract.interval)
    best = max(range(len(names)), key=lambda i: metric.gain(estimates[i].value))
    one, other = estimates[chosen], estimates[best]
    return [
        figure(setup, contestant, p.name, CHOSEN.format(what), one, split="test", detail=names[chosen]),
        figure(setup, contestant, p.name, BEST.format(what), other, split="test", reference=one, detail=names[best]),
    ]


def _readouts(setup: Setup, encoder: Encoder) -> dict[str, Encoder]:
    """Readouts by name, the encoder's own first."""
    [batch] = setup.reader.batches(setup.splits.train, setup.plan.train_view(1.0), [0])
    features = encoder(batch.to(next(encoder.parameters()).device))
    poolings: tuple[Pooling, ...] = ("mean", "mean-std", "class") if features.class_tokens else ("mean", "mean-std")
    tried = [encoder.readout, *(Readout(pooling=p, layers=layers) for p in poolings for layers in LAYERS)]
    return {
        f"{r.pooling} of {', '.join(map(str, r.layers))}": variant(encoder, readout=r) for r in dict.fromkeys(tried)
    }
