"""Audits: what a score would hide. Those on train and val run before the test split is opened, the others after."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ecotone.errors import RecipeError, nearest
from ecotone.evaluation.audits.base import Figure, Finding
from ecotone.evaluation.audits.duplicates import duplicates
from ecotone.evaluation.audits.heads import heads
from ecotone.evaluation.audits.labels import labels
from ecotone.evaluation.audits.leakage import leakage
from ecotone.evaluation.audits.normalisers import normalisers
from ecotone.evaluation.audits.places import check_places
from ecotone.evaluation.scoring import Preparation
from ecotone.evaluation.setup import Setup
from ecotone.evaluation.splits import Selection, Splits

BEFORE: dict[str, Callable[[Setup, Preparation], Finding]] = {"leakage": leakage, "normalisers": normalisers}
AFTER: dict[str, Callable[[Setup, Selection, Preparation], Finding]] = {
    "duplicates": duplicates,
    "heads": heads,
    "labels": labels,
}
AUDITS = (*AFTER, *BEFORE)


def check_audits(names: Sequence[str], splits: Splits) -> tuple[str, ...]:
    """The names, each once; what they need is looked for before anything is computed.

    Raises:
        RecipeError: No such audit; the nearest name is suggested.
        DataError: Leakage cannot be audited, as no sample says where it lies.
    """
    for name in names:
        if name not in AUDITS:
            raise RecipeError(f"unknown audit {name!r}", mend=nearest(name, AUDITS))
    if "leakage" in names:
        check_places(splits.info.name, (splits.train, splits.val))
    return tuple(dict.fromkeys(names))


def before_test(names: Sequence[str], setup: Setup, made: Preparation) -> list[Finding]:
    """The audits that need no test split, in the order of the table above."""
    return [audit(setup, made) for name, audit in BEFORE.items() if name in names]


def after_test(names: Sequence[str], setup: Setup, selection: Selection, made: Preparation) -> list[Finding]:
    """The audits that need the test split; nothing that they find is used."""
    return [audit(setup, selection, made) for name, audit in AFTER.items() if name in names]


__all__ = ["AFTER", "AUDITS", "BEFORE", "Figure", "Finding", "after_test", "before_test", "check_audits"]
