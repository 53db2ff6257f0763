from __future__ import annotations

import csv
from dataclasses import replace

from ecotone.evaluation import evaluate


def test_the_csv_holds_every_score_of_every_metric(make_splits, tiny_encoder, tmp_path):
    report = evaluate([tiny_encoder()], make_splits(), scales=(1, 0.5), protocols=["knn", "retrieval"])
    report.save_csv(tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * len(report.rows)  # accuracy and macro F1; mAP and recall
    assert {line["contract"] for line in lines} == {report.contract.hash}
    for row, line in zip(report.rows, lines, strict=False):
        assert (line["encoder"], line["metric"], float(line["value"])) == (row.encoder, row.metric, row.value)
        assert (float(line["low"]), float(line["high"])) == row.ci95


def test_the_markdown_leads_with_the_verdict_and_names_cannot_break_a_table(make_splits, tiny_encoder, tmp_path):
    splits = {n: replace(d, info=replace(d.info, name="a|b <i>")) for n, d in make_splits().items()}
    report = evaluate([tiny_encoder()], splits, scales=(1, 0.5), protocols=["knn"])
    report.save_markdown(tmp_path / "scores.md")
    text = (tmp_path / "scores.md").read_text("utf-8")
    assert text.startswith("# vit on a\\|b \\<i>\n\n**")
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(table) == 1 + len({r.encoder for r in report.rows}) and {line.count(" | ") for line in table} == {2}
    assert f"{100 * report.rows[0].value:.1f} [" in table[1]
    assert report.contract.hash in text
