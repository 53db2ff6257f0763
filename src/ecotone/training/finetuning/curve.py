"""The picture of a fine-tuning: loss and the score on val by images seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ecotone.files import replacing


def draw_curve(rows: list[dict[str, Any]], score: str, file: Path) -> None:
    """Draw a run's log.

    Args:
        rows: Of ``log.jsonl``.
        score: The figure on val that choices are made by.
        file: PNG to write.
    """
    steps = [r for r in rows if "loss/total" in r]
    checks = [r for r in rows if f"val/{score}" in r]
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    left = figure.subplots()
    left.plot(
        [r["images"] for r in steps], [r["loss/total"] for r in steps], color="0.7", lw=0.8, label="training loss"
    )
    left.set_xlabel("images seen")
    left.set_ylabel("training loss")
    right = left.twinx()
    right.plot([r["images"] for r in checks], [r[f"val/{score}"] for r in checks], "o-", ms=3, color="teal")
    right.set_ylabel(f"{score} on val", color="teal")
    with replacing(file) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
