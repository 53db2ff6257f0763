"""The worst errors: test images that an encoder got most confidently wrong, with what it said and a small picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ecotone.data.base import Dataset
from ecotone.data.inspection import thumbnail
from ecotone.evaluation.scoring import Outcome
from ecotone.evaluation.setup import Setup
from ecotone.metrics import METRICS, Answers

SHOWN = 24  # pictures of about 4 kB each


@dataclass(frozen=True)
class Mistake:
    """A test image and what was wrongly said of it.

    Attributes:
        encoder: Name of the encoder.
        protocol: Name of the protocol.
        scale: Relative scale.
        key: Of the sample.
        truth: True class, classes joined by a comma, or value.
        said: The answer in the same form.
        size: How wrong: the share of the vote or probability of the class said; of several classes the largest distance
            between truth and score where the decision is wrong; said minus true value.
        picture: JPEG of the image at full scale.
    """

    encoder: str
    protocol: str
    scale: float
    key: str
    truth: str
    said: str
    size: float
    picture: bytes


def worst(setup: Setup, outcomes: Sequence[Outcome], test: Dataset, count: int = SHOWN) -> list[Mistake]:
    """The worst errors of the first encoder at the largest scale, under the protocol with its best score.

    Args:
        setup: The evaluation.
        outcomes: All of its outcomes.
        test: The test split, from which only the pictures are read.
        count: At most this many.

    Returns:
        The largest first; none where no protocol decides.
    """
    mine = [o for o in outcomes if o.contestant == setup.entrants[0].name and o.scale == max(setup.scales())]
    decided = [o for o in mine if o.answers[0].decisions is not None]
    if not decided:
        return []
    o = max(decided, key=lambda o: METRICS[o.metric].gain(o.main.value))
    answers = o.answers[0]
    sizes = _sizes(answers)
    order: list[int] = sizes.abs().argsort(descending=True, stable=True)[:count].tolist()
    keys, role = test.keys(), setup.reader.roles[0]
    return [
        Mistake(
            encoder=o.contestant,
            protocol=o.protocol,
            scale=o.scale,
            key=keys[i],
            truth=_text(setup, answers.truth[i]),
            said=_text(setup, _decisions(answers)[i]),
            size=float(sizes[i]),
            picture=_picture(test, i, role),
        )
        for i in order
        if sizes[i] != 0
    ]


def _sizes(answers: Answers) -> Tensor:
    """(N,) how wrong each answer is; zero where it is right."""
    said, truth = _decisions(answers), answers.truth
    if answers.scores is None:
        return said.double() - truth.double()
    scores, wrong = answers.scores.double(), (said != truth).double()
    if truth.ndim == 2:
        return ((scores - truth).abs() * wrong).amax(1)
    return scores.gather(1, said[:, None])[:, 0] * wrong


def _decisions(answers: Answers) -> Tensor:
    assert answers.decisions is not None
    return answers.decisions


def _text(setup: Setup, label: Tensor) -> str:
    """A label as one reads it."""
    if label.is_floating_point() and label.ndim == 0:
        return f"{label.item():.4g}"
    indices = label.nonzero()[:, 0].tolist() if label.ndim else [int(label)]
    return ", ".join(setup.classes[i] if i < len(setup.classes) else f"class {i}" for i in indices) or "none"


def _picture(test: Dataset, index: int, role: str) -> bytes:
    sample = test[index]
    file = io.BytesIO()
    thumbnail(replace(sample, images={role: sample.images[role]})).save(file, format="JPEG", quality=82)
    return file.getvalue()
