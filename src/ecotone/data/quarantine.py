"""Broken samples: listed, counted, and too many of them an error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ecotone.errors import DataError

LEAST, SHARE = 10, 0.05


@dataclass
class Quarantine:
    """What could not be read.

    Attributes:
        reasons: Key -> why it could not be read.
        seen: Samples asked for.
        met: How often one of them was broken.
    """

    reasons: dict[str, str] = field(default_factory=dict)
    seen: int = 0
    met: int = 0

    def note(self, seen: int, broken: dict[str, str]) -> None:
        """Count samples, of which some were broken.

        Raises:
            DataError: At least 10 samples, and more than 5 % of those seen, are broken.
        """
        self.seen += seen
        self.met += len(broken)
        self.reasons.update(broken)
        if self.met >= LEAST and self.met > SHARE * self.seen:
            key, reason = next(iter(self.reasons.items()))
            raise DataError(
                f"{self.met} of {self.seen} samples could not be read",
                found=f"{key}: {reason}",
                mend="Run ecotone data inspect on the dataset and repair or remove the broken files.",
            )

    def state_dict(self) -> dict[str, Any]:
        return {"reasons": dict(self.reasons), "seen": self.seen, "met": self.met}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.reasons, self.seen, self.met = dict(state["reasons"]), int(state["seen"]), int(state["met"])
