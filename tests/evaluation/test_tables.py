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


def test_the_figures_of_audits_have_a_file_of_their_own(make_splits, tiny_encoder, tmp_path):
    splits = make_splits((40, 30, 50))
    splits["test"].pixels[:3] = splits["train"].pixels[:3]
    audits = ("duplicates", "normalisers", "heads", "labels")
    report = evaluate([tiny_encoder()], splits, scales=(1,), protocols=["knn-grid"], floors=False, audits=audits)
    assert report.save_csv(tmp_path / "s.csv") == [tmp_path / "s.csv", tmp_path / "s.audits.csv"]
    with (tmp_path / "s.audits.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["contract"] for line in lines} == {report.contract.hash}
    twins = {(x["split"], x["setting"]): x for x in lines if x["audit"] == "duplicates"}
    assert (twins["test", "against train"]["value"], twins["test", "against train"]["detail"]) == ("3", "of 50 images")
    figures = [(a.name, f) for a in report.audits for f in a.figures]
    assert {name for name, _ in figures} == set(audits[1:])
    for (name, f), line in zip(figures, [x for x in lines if x["audit"] != "duplicates"], strict=True):
        assert (line["audit"], line["setting"], line["split"], line["detail"]) == (name, f.setting, f.split, f.detail)
        assert [float(line[k]) for k in ("value", "low", "high")] == [f.value, *f.ci95]
        gap = [float(line[k]) for k in ("difference", "difference_low", "difference_high") if line[k]]
        assert gap == ([] if f.difference_ci95 is None else [f.difference, *f.difference_ci95])
    evaluate([tiny_encoder()], splits, scales=(1,), protocols=["knn"], floors=False, audits=()).save_csv(
        tmp_path / "t.csv"
    )
    assert not (tmp_path / "t.audits.csv").exists()
