"""Heads: what turns features into answers."""

from __future__ import annotations

from typing import Any

from ecotone.errors import CheckpointError, nearest
from ecotone.heads.base import Head
from ecotone.heads.dense import PixelHead
from ecotone.heads.linear import LinearHead
from ecotone.heads.predictor import Predictor
from ecotone.heads.tasks import Task

__all__ = ["Head", "LinearHead", "PixelHead", "Predictor", "Task", "build_head"]

KINDS: dict[str, type[Head]] = {head.kind: head for head in (LinearHead, PixelHead)}


def build_head(kind: str, config: dict[str, Any]) -> Head:
    """A new head.

    Args:
        kind: Its name, such as ``linear``.
        config: As ``Head.config`` gives it.

    Raises:
        CheckpointError: No such head, or it does not take this configuration.
    """
    if kind not in KINDS:
        raise CheckpointError(f"unknown head {kind!r}", mend=nearest(kind, KINDS))
    try:
        return KINDS[kind](**config)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the head {kind} cannot be built: {error}") from error
