"""JSON, CSV, Markdown and the page say the same numbers."""

from __future__ import annotations

import csv
import json
import re

import pytest

from ecotone.evaluation import evaluate
from ecotone.evaluation.wording import Wording


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_four_formats_say_the_same_numbers(lamps, tiny_encoder, tmp_path, task):
    report = evaluate([tiny_encoder()], lamps(task), scales=(1, 0.5))
    for kind in ("json", "csv", "markdown", "html"):
        getattr(report, f"save_{kind}")(tmp_path / f"report.{kind}")
    content = json.loads((tmp_path / "report.json").read_text("utf-8"))
    with (tmp_path / "report.csv").open(newline="") as file:
        lines = {(x["encoder"], x["protocol"], float(x["scale"]), x["metric"]): x for x in csv.DictReader(file)}
    markdown = (tmp_path / "report.markdown").read_text("utf-8")
    html = (tmp_path / "report.html").read_text("utf-8")
    rows = {(r["encoder"], r["protocol"], r["scale"], r["metric"]): r for r in content["results"]}
    others = {(s["encoder"], s["protocol"], s["scale"], s["metric"]): s for s in content["other_metrics"]}
    assert set(lines) == set(rows | others)
    for place, row in (rows | others).items():
        line = lines[place]
        assert [float(line[k]) for k in ("value", "low", "high")] == [row["value"], *row["ci95"]]
        assert line["contract"] == content["contract"]
    tables = re.findall(r"<h3>[^<]*</h3>\s*<div class=\"scroll\".*?</table>", html, re.S)
    for (encoder, protocol, scale, metric), row in rows.items():
        words = Wording.of(report.contract, protocol, metric)
        value, (low, high) = words.number(row["value"]), map(words.number, row["ci95"])
        column = sorted({s for _, _, s, _ in rows}, reverse=True).index(scale)
        assert f"{value} [{low}, {high}]" == cells(markdown, words.caption, protocol, encoder, report)[column]
        table = tables[list(report.contract.metrics).index(protocol)]
        shown = re.search(rf'<th scope="row">{re.escape(encoder)}[ <].*?</tr>', table, re.S)
        assert shown is not None
        found = re.findall(r"<td>(.*?)<small>(.*?)</small>", shown[0])
        assert found[column] == (value, words.interval(tuple(row["ci95"])))
    for verdict in content["verdicts"]:
        assert verdict["text"] in html and verdict["text"] in markdown
    for text in (markdown, html):
        assert content["contract"] in text
    for m in content["mistakes"]:
        assert f"true <b>{m['truth']}</b><br>said <b>{m['said']}</b>" in html


def cells(markdown: str, caption: str, protocol: str, encoder: str, report) -> list[str]:
    """The cells of one contestant in the Markdown table of a protocol."""
    sections = markdown.split("\n## ")[1:]
    section = sections[list(report.contract.metrics).index(protocol)]
    assert section.splitlines()[0].endswith(caption)
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| ")]
    (mine,) = [row for row in rows if row[0].strip("| *") == encoder]
    return [cell.strip(" |") for cell in mine[1:]]
