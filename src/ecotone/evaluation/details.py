"""What lies behind a score: which classes are taken for which, label by label, and how far values are off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ecotone.evaluation.mistakes import Mistake
from ecotone.evaluation.scoring import Outcome
from ecotone.metrics import METRICS, Answers


@dataclass(frozen=True)
class Confusion:
    """Counts (classes, classes) of true class by predicted class, for one encoder and protocol at one scale."""

    encoder: str
    protocol: str
    scale: float
    counts: list[list[int]]


@dataclass(frozen=True)
class LabelCounts:
    """How one of several classes per image did, for one encoder and protocol at one scale.

    Attributes:
        encoder: Name of the encoder.
        protocol: Name of the protocol.
        scale: Relative scale.
        label: Name of the class.
        hits: Images that have it and were said to.
        misses: Images that have it and were not said to.
        false_alarms: Images that were said to have it and have not.
        average_precision: Area under its precision and recall; None where no image has it.
    """

    encoder: str
    protocol: str
    scale: float
    label: str
    hits: int
    misses: int
    false_alarms: int
    average_precision: float | None

    @property
    def precision(self) -> float | None:
        """Share of the images said to have it that do; None where none was said to."""
        said = self.hits + self.false_alarms
        return self.hits / said if said else None

    @property
    def recall(self) -> float | None:
        """Share of the images that have it that were said to; None where none has it."""
        true = self.hits + self.misses
        return self.hits / true if true else None


@dataclass(frozen=True)
class Residuals:
    """Said minus true values, for one encoder and protocol at one scale, in the unit of the labels.

    Attributes:
        encoder: Name of the encoder.
        protocol: Name of the protocol.
        scale: Relative scale.
        mean: Above zero where values are overestimated on the whole.
        spread: Standard deviation.
        slope: Of the straight line that least squares draw through said over true; below 1, high values are said too
            low and low ones too high. None where all true values are equal.
        points: True and said value of every test image.
    """

    encoder: str
    protocol: str
    scale: float
    mean: float
    spread: float
    slope: float | None
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Details:
    """Of the first encoder at the largest scale; what its task does not have is empty.

    Attributes:
        keys: Of the test samples, in their order.
        confusions: By protocol.
        labels: By protocol and class.
        residuals: By protocol.
        mistakes: Of the protocol with the best score, the worst first.
    """

    keys: tuple[str, ...]
    confusions: list[Confusion]
    labels: list[LabelCounts]
    residuals: list[Residuals]
    mistakes: list[Mistake]

    def to_dict(self) -> dict[str, Any]:
        """For the JSON file: everything but pictures and single test images that are no mistakes."""
        return {
            "confusions": [asdict(c) for c in self.confusions],
            "labels": [asdict(c) for c in self.labels],
            "residuals": [{k: v for k, v in asdict(r).items() if k != "points"} for r in self.residuals],
            "mistakes": [{k: v for k, v in asdict(m).items() if k != "picture"} for m in self.mistakes],
        }


def numbered(classes: Sequence[str], count: int) -> list[str]:
    """Names of so many classes; those that the dataset does not name get a number."""
    return [*classes, *(f"class {i}" for i in range(len(classes), count))]


def details(
    outcomes: Sequence[Outcome], task: str, classes: Sequence[str], keys: Sequence[str], mistakes: list[Mistake]
) -> Details:
    """Look at every decision of the first encoder at the largest scale.

    Args:
        outcomes: Encoders and floors.
        task: What is asked of every image.
        classes: Class names; those beyond get a number.
        keys: Of the test samples.
        mistakes: The worst errors.
    """
    first, scale = next(o.contestant for o in outcomes if not o.floor), max(o.scale for o in outcomes)
    mine = [o for o in outcomes if o.contestant == first and o.scale == scale]
    decided = [(o, o.answers[0]) for o in mine if o.answers[0].decisions is not None]
    return Details(
        keys=tuple(keys),
        confusions=[_confusion(len(classes), o, a) for o, a in decided if task == "classification"],
        labels=[c for o, a in decided if task == "multilabel" for c in _labels(classes, o, a)],
        residuals=[_residuals(o, a) for o, a in decided if task == "regression"],
        mistakes=mistakes,
    )


def _confusion(classes: int, o: Outcome, answers: Answers) -> Confusion:
    assert answers.decisions is not None
    truth, said = answers.truth.numpy(), answers.decisions.numpy()
    size = max(classes, int(max(truth.max(), said.max())) + 1)
    counts = np.zeros((size, size), dtype=int)
    np.add.at(counts, (truth, said), 1)
    return Confusion(o.contestant, o.protocol, o.scale, counts.tolist())


def _labels(classes: Sequence[str], o: Outcome, answers: Answers) -> Iterator[LabelCounts]:
    assert answers.decisions is not None and answers.scores is not None
    truth, said = answers.truth > 0, answers.decisions > 0
    for c, name in enumerate(numbered(classes, truth.shape[1])):
        is_true, is_said = truth[:, c], said[:, c]
        alone = Answers(answers.truth[:, [c]], scores=answers.scores[:, [c]])
        yield LabelCounts(
            encoder=o.contestant,
            protocol=o.protocol,
            scale=o.scale,
            label=name,
            hits=int((is_true & is_said).sum()),
            misses=int((is_true & ~is_said).sum()),
            false_alarms=int((~is_true & is_said).sum()),
            average_precision=METRICS["macro_map"].value(alone) if is_true.any() else None,
        )


def _residuals(o: Outcome, answers: Answers) -> Residuals:
    assert answers.decisions is not None
    truth, said = answers.truth.double().numpy(), answers.decisions.double().numpy()
    off = said - truth
    slope = float(np.polyfit(truth, said, 1)[0]) if np.ptp(truth) > 0 else None
    points = list(zip(truth.tolist(), said.tolist(), strict=True))
    return Residuals(o.contestant, o.protocol, o.scale, float(off.mean()), float(off.std()), slope, points)
