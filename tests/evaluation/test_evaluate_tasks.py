"""Evaluation from files to report for several classes per image, for values and for retrieval."""

from __future__ import annotations

import json

import pytest

from ecotone.errors import DataError, RecipeError
from ecotone.evaluation import evaluate


def test_several_classes_are_ranked_thresholded_and_reported(lamps, tiny_encoder, tmp_path):
    folder = lamps("multilabel")
    report = evaluate([tiny_encoder()], folder, scales=(1,), protocols=["knn", "linear", "retrieval"])
    content = json.loads(report.to_json())
    mine = {r["protocol"]: r for r in content["results"] if not r["floor"]}
    assert {p: r["metric"] for p, r in mine.items()} == {
        "knn": "micro_map",
        "linear": "micro_map",
        "retrieval": "map_at_k",
    }
    assert mine["linear"]["value"] > 0.9
    assert len(mine["linear"]["settings"]["thresholds"]) == 3
    chance = next(r for r in content["results"] if r["encoder"] == "chance" and r["protocol"] == "knn")
    assert chance["value"] < 0.7
    others = {(s["protocol"], s["metric"]) for s in content["other_metrics"]}
    assert others == {(p, m) for p in ("knn", "linear") for m in ("macro_map", "micro_f1", "macro_f1")} | {
        ("retrieval", "recall_at_k")
    }
    assert content["settings"]["task"] == "multilabel" and "F1 on val" in content["settings"]["thresholds"]
    assert "Classes absent from test, so not part of any macro mean over classes: blue." in report.warnings
    assert {v.answer for v in report.verdicts} == {"n too small"}
    assert "micro mAP" in report.verdicts[0].text and "mAP@20" in report.verdicts[2].text
    report.save_html(tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text("utf-8")
    assert "micro mAP in per cent" in html and "macro F1 in per cent" in html and "Confusion matrix" not in html


def test_values_are_scored_in_their_unit_and_lower_is_better(lamps, tiny_encoder, tmp_path):
    folder = lamps("regression", counts=(80, 40, 120))
    report = evaluate([tiny_encoder()], folder, scales=(1, 0.5), protocols=["knn", "linear"])
    rows = {(r.encoder, r.protocol, r.scale): r for r in report.rows}
    linear = rows["vit", "linear", 1.0]
    assert linear.metric == "rmse" and 0 < linear.ci95[0] <= linear.value <= linear.ci95[1] < 1
    assert rows["chance", "linear", 1.0].value == pytest.approx(1.6, abs=0.2)
    best = next(d for d in report.differences if (d.protocol, d.scale, d.role) == ("linear", 1.0, "best floor"))
    floors = [r for r in report.rows if r.floor and (r.protocol, r.scale) == ("linear", 1.0)]
    assert best.against == min(floors, key=lambda r: r.value).encoder
    verdict = report.verdicts[1]
    beats = {True: "beats", False: "below" if best.ci95[0] > 0 else "level"}[best.ci95[1] < 0]
    assert verdict.answer == beats
    assert f"RMSE {linear.value:.4g} t/ha" in verdict.text and "lower is better" in verdict.text
    report.save_html(tmp_path / "page.html")
    assert "RMSE in t/ha, lower is better" in (tmp_path / "page.html").read_text("utf-8")


def test_a_better_floor_by_rmse_makes_the_verdict_fall_short(lamps, tiny_encoder):
    encoder = tiny_encoder()
    encoder.norm.weight.data.zero_()  # knows nothing
    encoder.norm.bias.data.zero_()
    folder = lamps("regression", counts=(80, 40, 120))
    report = evaluate([encoder], folder, scales=(1,), protocols=["linear"])
    assert report.verdicts[0].answer == "below"
    assert "falls short of its best floor" in report.verdicts[0].text


@pytest.mark.parametrize("label", ["", "much", "nan"])
def test_a_label_that_is_no_number_is_named(lamps, tiny_encoder, label):
    folder = lamps("regression", counts=(3, 2, 2))
    manifest = folder / "manifest.csv"
    lines = manifest.read_text().splitlines()
    lines[2] = f"train1.png,{label},train"
    manifest.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"label of train1\.png is no number"):
        evaluate([tiny_encoder()], folder)


def test_what_cannot_be_scored_is_refused_before_an_image_is_read(lamps, tiny_encoder):
    values = lamps("regression", counts=(3, 2, 2), name="values")
    with pytest.raises(RecipeError, match="retrieval needs classes"):
        evaluate([tiny_encoder()], values, protocols=["retrieval"])
    classes = lamps("multilabel", counts=(4, 2, 2), name="classes")
    text = (classes / "manifest.csv").read_text().splitlines()
    blank = [",".join((line.split(",")[0], "", "val")) if ",val" in line else line for line in text]
    (classes / "manifest.csv").write_text("\n".join(blank))
    with pytest.raises(DataError, match="no sample of the val split has any class"):
        evaluate([tiny_encoder()], classes)
