"""How a metric's values are put into words: per cent and points, or a number with its unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ecotone.evaluation.contract import Contract
from ecotone.metrics import METRICS, Metric


@dataclass(frozen=True)
class Wording:
    """A metric as people read it.

    Attributes:
        metric: The metric.
        title: Its name, with the k of a ranking.
        unit: ``%``, the unit of the labels, or nothing.
    """

    metric: Metric
    title: str
    unit: str

    @classmethod
    def of(cls, contract: Contract, protocol: str, metric: str) -> Wording:
        """The wording of a metric under a protocol of a contract."""
        found = METRICS[metric]
        unit = "%" if found.percent else (contract.data.label_unit or "") if found.unit else ""
        return cls(found, found.title.replace("@k", f"@{contract.protocols[protocol].get('k')}"), unit)

    @classmethod
    def main(cls, contract: Contract, protocol: str) -> Wording:
        """The wording of the main metric."""
        return cls.of(contract, protocol, contract.metrics[protocol][0])

    @property
    def caption(self) -> str:
        """Title, unit and direction, such as ``RMSE in t/ha, lower is better``."""
        unit = " in per cent" if self.metric.percent else f" in {self.unit}" if self.unit else ""
        return f"{self.title}{unit}" + (", lower is better" if self.metric.lower else "")

    @property
    def gap(self) -> str:
        """The unit of a difference."""
        return "points" if self.metric.percent else self.unit

    def number(self, value: float) -> str:
        """The value alone."""
        return (f"{100 * value:.1f}" if self.metric.percent else f"{value:.4g}").replace("-", "−")

    def interval(self, ci: tuple[float, float]) -> str:
        """An interval in the space of a table cell."""
        return (" to " if ci[0] < 0 else "–").join(self.number(v) for v in ci)

    def bracketed(self, value: float, ci: tuple[float, float]) -> str:
        """The value with its interval in brackets."""
        return f"{self.number(value)} [{self.number(ci[0])}, {self.number(ci[1])}]"

    def spread(self, seed_values: Sequence[float]) -> str:
        """From where to where the values of several seeds go; nothing for one."""
        if len(seed_values) < 2:
            return ""
        return f"seeds {self.number(min(seed_values))} to {self.number(max(seed_values))}"

    def signed(self, value: float) -> str:
        """A difference with its sign."""
        return (f"{100 * value:+.1f}" if self.metric.percent else f"{value:+.3g}").replace("-", "−")

    def value(self, value: float) -> str:
        """The value with its unit."""
        return f"{self.number(value)} {self.unit}".strip()
