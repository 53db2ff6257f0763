"""Comparison and budgets as rows of text, for the console, Markdown and the page alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ecotone.evaluation.cards import Budget, ModelCard
from ecotone.evaluation.comparison import Pair
from ecotone.evaluation.protocols import PROTOCOLS
from ecotone.evaluation.wording import Wording

PAIR_HEAD = ("model", "against", "protocol", "scale", "difference", "95 % interval", "p (Holm)", "verdict")
BUDGET_HEAD = (
    "model",
    "parameters",
    "GFLOP per image",
    "embedding",
    "pretraining images",
    "pretraining TFLOP",
    "core-hours",
)
ANSWERS = {
    "better": "better",
    "worse": "worse",
    "level": "cannot be told apart",
    "n too small": "n too small: no verdict",
}


def pair_row(pair: Pair, words: Mapping[str, Wording]) -> tuple[str, ...]:
    """One pair, in the order of ``PAIR_HEAD``.

    Args:
        pair: Two models.
        words: Protocol -> wording of its main metric.
    """
    w = words[pair.protocol]
    low, high = (w.signed(v) for v in pair.ci95)
    return (
        pair.encoder,
        pair.against,
        PROTOCOLS[pair.protocol].title,
        f"{100 * pair.scale:g} %",
        f"{w.signed(pair.value)} {w.gap}".strip(),
        f"{low} to {high}",
        f"{pair.p_holm:.2g}" if pair.p_holm >= 0.001 else "< 0.001",
        ANSWERS[pair.answer],
    )


def budget_row(card: ModelCard) -> tuple[str, ...]:
    """What one model costs, in the order of ``BUDGET_HEAD``."""
    b: Budget = card.budget
    pretraining = (b.pretraining_images, b.pretraining_tflop, b.pretraining_core_hours)
    return (
        card.name,
        f"{b.parameters:,}",
        f"{b.gflop:.3g}",
        f"{b.dimension}",
        *("unknown" if v is None else f"{v:,}" if isinstance(v, int) else f"{v:,.3g}" for v in pretraining),
    )


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the cells are escaped already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
