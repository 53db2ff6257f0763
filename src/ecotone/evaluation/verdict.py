"""The verdict: does the encoder beat its floors, by how much, how sure. In plain sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ecotone.evaluation.comparison import ENOUGH
from ecotone.evaluation.contestants import Entrant, random_init_names
from ecotone.evaluation.contract import Contract
from ecotone.evaluation.protocols import PROTOCOLS
from ecotone.evaluation.scoring import Outcome, mean_name
from ecotone.evaluation.wording import Wording
from ecotone.metrics import METRICS

TITLES = {name: kind.title for name, kind in PROTOCOLS.items()}
Role = Literal["random init", "best floor"]
Answer = Literal["beats", "level", "below", "n too small", "no floors"]


@dataclass(frozen=True)
class Difference:
    """Main metric of an encoder minus that of a floor over the same test samples, with its paired 95 % interval."""

    encoder: str
    against: str
    role: Role
    protocol: str
    scale: float
    value: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Verdict:
    """One sentence on one encoder under one protocol at the largest scale."""

    encoder: str
    protocol: str
    scale: float
    answer: Answer
    text: str


def random_inits(entrants: Sequence[Entrant]) -> dict[str, str]:
    """Encoder -> name of its random init; of the mean of several as well, where they share one."""
    inits = random_init_names(entrants)
    return inits | ({mean_name(len(entrants)): inits[entrants[0].name]} if len(set(inits.values())) == 1 else {})


def differences(outcomes: Sequence[Outcome], inits: Mapping[str, str], level: float) -> list[Difference]:
    """Every encoder, and the mean of several, against its random init and the best floor, at every scale.

    Args:
        outcomes: Encoders and floors.
        inits: Encoder -> name of its random init, where that is known.
        level: Of the intervals.
    """
    found = []
    for o in (o for o in outcomes if not o.floor):
        floors = [f for f in outcomes if f.floor and (f.protocol, f.scale) == (o.protocol, o.scale)]
        if not floors:
            continue
        best = max(floors, key=lambda f: METRICS[f.metric].gain(f.main.value))
        init = next((f for f in floors if f.contestant == inits.get(o.contestant)), None)
        if init is not None:
            found.append(_difference(o, init, "random init", level))
        found.append(_difference(o, best, "best floor", level))
    return found


def verdicts(
    contract: Contract, outcomes: Sequence[Outcome], found: Sequence[Difference], judged: Sequence[str]
) -> list[Verdict]:
    """One for each protocol and encoder that is judged, at the largest scale."""
    scale, result = max(o.scale for o in outcomes), []
    for protocol in contract.protocols:
        for o in (o for o in outcomes if (o.protocol, o.scale) == (protocol, scale) and o.contestant in judged):
            mine = {d.role: d for d in found if (d.encoder, d.protocol, d.scale) == (o.contestant, protocol, scale)}
            result.append(_verdict(o, mine, contract))
    return result


def caveats(contract: Contract, *, synthetic: bool, left_out: Sequence[str] = ()) -> Iterator[str]:
    """What limits every verdict on this data."""
    n = contract.data.n["test"]
    if synthetic:
        yield "The imagery is synthetic: these scores show that the pipeline works, not what it does on the Earth."
    if n < ENOUGH:
        yield f"n too small: {n} test samples, and no verdict is given below {ENOUGH}."
    if contract.data.split_kind and contract.data.split_kind.startswith("random"):
        yield "The split is random: neighbouring tiles may lie in train and in test, so every score is optimistic."
    yield from left_out
    told = contract.gsd
    if told.policy == "shuffled":
        yield "A control: encoders are told the GSD of another image or scale, drawn at random, not their image's own."
    if told.fixed:
        yield f"Encoders are told a GSD of {told.fixed:g} m for every image, whatever its own."
    if told.source == "assumed":
        yield f"The GSD is assumed, not known: {told.metres:g} m, the middle of the model's range."


def _difference(o: Outcome, floor: Outcome, role: Role, level: float) -> Difference:
    gap = o.main - floor.main
    return Difference(o.contestant, floor.contestant, role, o.protocol, o.scale, gap.value, gap.interval(level))


def _verdict(outcome: Outcome, mine: dict[str, Difference], contract: Contract) -> Verdict:
    n, words = contract.data.n["test"], Wording.main(contract, outcome.protocol)
    low, high = (words.number(v) for v in outcome.main.interval(contract.interval.level))
    score = f"{words.title} {words.value(outcome.main.value)}"
    lower = "; lower is better" if words.metric.lower else ""
    value = f"{TITLES[outcome.protocol]}: {outcome.contestant} reaches {score} (95 % interval {low} to {high}{lower})"
    text = f"{value} on {n} test samples"
    best, init = mine.get("best floor"), mine.get("random init")
    if best is None:
        return _as(outcome, "no floors", f"{text}; the floors were left out, so this says nothing about pretraining.")
    answer = _answer(best, words)
    if answer == "beats":
        text += f"; it beats its best floor, {best.against}, by {_size(best, words)}"
    elif answer == "below":
        text += f"; it falls short of its best floor, {best.against}, by {_size(best, words)}"
    else:
        text += f"; it cannot be told from its best floor, {best.against}: the difference is {_size(best, words)}"
    if init is not None and init.against != best.against:
        text += _against_init(init, words)
    if n < ENOUGH:
        return _as(outcome, "n too small", f"{text}. n too small: no verdict.")
    return _as(outcome, answer, text + ".")


def _answer(d: Difference, words: Wording) -> Literal["beats", "level", "below"]:
    low, high = sorted(words.metric.gain(v) for v in d.ci95)
    return "beats" if low > 0 else "below" if high < 0 else "level"


def _against_init(init: Difference, words: Wording) -> str:
    answer = _answer(init, words)
    if answer == "beats":
        return f". Pretraining gains {_size(init, words)} over the same encoder at random init"
    if answer == "below":
        return f". Pretraining loses {_size(init, words)} against the same encoder at random init"
    return f". Against the same encoder at random init the difference, {_size(init, words)}, is not sure"


def _as(outcome: Outcome, answer: Answer, text: str) -> Verdict:
    return Verdict(outcome.contestant, outcome.protocol, outcome.scale, answer, text)


def _size(d: Difference, words: Wording) -> str:
    """The size of a difference with its interval, turned so that a stated gain or loss reads as a positive number."""
    sign = -1 if d.ci95[1] < 0 else 1
    low, high = sorted(sign * v for v in d.ci95)
    return f"{words.number(sign * d.value)} {words.gap}".strip() + f" ({words.number(low)} to {words.number(high)})"
