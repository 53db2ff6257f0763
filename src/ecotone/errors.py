"""The one hierarchy of errors a user may meet: what is wrong, what was found and expected, how to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class EcotoneError(Exception):
    """A mistake the user can mend. The command line prints it as one sentence, without a traceback.

    Args:
        problem: What is wrong, naming the file, band or key.
        found: What was met.
        expected: What would have been right.
        mend: What the user can do about it.
    """

    def __init__(self, problem: str, *, found: object = None, expected: object = None, mend: str | None = None) -> None:
        parts = [problem.rstrip(".")]
        if found is not None:
            parts.append(f"found {found}")
        if expected is not None:
            parts.append(f"expected {expected}")
        super().__init__("; ".join(parts) + "." + (f" {mend}" if mend else ""))


class DataError(EcotoneError):
    """A file, folder or label that cannot be used as it is."""


class OutputError(DataError):
    """A file that cannot be written: the disk is full, or the folder is not ours."""


class InputError(EcotoneError):
    """An image that does not meet a model's InputSpec."""


class SensorError(EcotoneError):
    """An unknown sensor, band or unit."""


class RecipeError(EcotoneError):
    """A recipe or option that cannot be run as written."""


class CheckpointError(EcotoneError):
    """A model or run folder that is missing, damaged or of another kind."""


class TrainingError(EcotoneError):
    """Training that cannot go on, such as a loss that is not finite."""


def nearest(name: str, known: Iterable[str]) -> str:
    """One sentence that suggests the known name nearest to a misspelt one, or lists them all."""
    names = sorted(known)
    match = get_close_matches(name, names, n=1, cutoff=0.5)
    return f"Did you mean {match[0]!r}?" if match else f"Known: {', '.join(names)}."
