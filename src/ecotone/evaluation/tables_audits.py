"""What audits found as CSV: one line for each figure, in a file of its own, so that no figure is taken for a score."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecotone.evaluation.audits.base import Finding

if TYPE_CHECKING:
    from ecotone.evaluation.report import Report

COLUMNS: tuple[str, ...] = (
    "audit",
    "encoder",
    "floor",
    "dataset",
    "protocol",
    "setting",
    "split",
    "metric",
    "value",
    "low",
    "high",
)
COLUMNS += ("difference", "difference_low", "difference_high", "detail", "contract")


def audits_file(path: Path) -> Path:
    """Where the figures of audits lie beside a CSV file of scores: ``scores.audits.csv`` for ``scores.csv``."""
    return path.with_suffix(".audits.csv")


def audits_csv(report: Report) -> str:
    """One line for each figure of each audit, with the hash of the contract; nothing where there is none."""
    rows = [{"audit": a.name, **row} for a in report.audits for row in (*_figures(a), *_overlaps(a))]
    if not rows:
        return ""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | {"dataset": report.contract.data.name, "contract": report.contract.hash} for row in rows)
    return file.getvalue()


def _figures(finding: Finding) -> Iterator[dict[str, Any]]:
    for f in finding.figures:
        row = {
            "encoder": f.encoder,
            "floor": "true" if f.floor else "false",
            "protocol": f.protocol,
            "setting": f.setting,
            "split": f.split,
            "metric": f.metric,
            "value": f.value,
            "low": f.ci95[0],
            "high": f.ci95[1],
            "detail": f.detail,
        }
        if f.difference_ci95 is not None:
            low, high = f.difference_ci95
            row |= {"difference": f.difference, "difference_low": low, "difference_high": high}
        yield row


def _overlaps(finding: Finding) -> Iterator[dict[str, Any]]:
    """Of near-duplicates: how many images of a split have one in another."""
    for o in finding.facts.get("overlaps", []):
        yield {
            "setting": f"against {o['against']}",
            "split": o["split"],
            "metric": "near_duplicates",
            "value": o["images"],
            "detail": f"of {o['of']} images",
        }
