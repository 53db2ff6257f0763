"""What lies behind the scores agrees with the scores and with the manifest."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest
from PIL import Image as Picture

from ecotone.evaluation import evaluate


def truths(folder) -> dict[str, str]:
    """Key -> label of the test split, as written."""
    with (folder / "manifest.csv").open(newline="") as file:
        return {line["path"]: line["label"] for line in csv.DictReader(file) if line["split"] == "test"}


def score(report, protocol, metric) -> float:
    found = [s for s in (*report.rows, *report.others) if not s.floor and (s.protocol, s.metric) == (protocol, metric)]
    return found[0].value


def test_the_confusion_and_the_worst_errors_are_those_of_the_accuracy(make_splits, tiny_encoder):
    splits = make_splits()
    report = evaluate([tiny_encoder()], splits, scales=(1, 0.5))
    label = dict(zip(splits["test"].keys(), splits["test"].labels(), strict=True))
    rights = {}
    for c in report.details.confusions:
        counts = np.array(c.counts)
        assert counts.sum(1).tolist() == [list(label.values()).count(name) for name in report.classes]
        rights[c.protocol] = counts.trace() / counts.sum()
        assert rights[c.protocol] == pytest.approx(score(report, c.protocol, "accuracy"))
    assert set(rights) == {"knn", "linear"}
    found = report.details.mistakes
    best = max(rights, key=lambda p: rights[p])
    assert {m.protocol for m in found} == {best}
    assert len(found) == min(24, round((1 - rights[best]) * 120))
    assert [m.size for m in found] == sorted((m.size for m in found), reverse=True)
    assert all(label[m.key] == m.truth != m.said and 1 / 3 < m.size <= 1 for m in found)
    assert Picture.open(io.BytesIO(found[0].picture)).size == (96, 96)


def test_counts_by_label_give_the_f1_and_the_map_of_the_whole(lamps, tiny_encoder):
    folder = lamps("multilabel")
    report = evaluate([tiny_encoder()], folder, scales=(1,), protocols=["knn", "retrieval"])
    counts = report.details.labels
    assert [c.label for c in counts] == ["red", "green", "blue"] and not report.details.confusions
    hit, wrong = sum(c.hits for c in counts), sum(c.misses + c.false_alarms for c in counts)
    assert 2 * hit / (2 * hit + wrong) == pytest.approx(score(report, "knn", "micro_f1"))
    areas = [c.average_precision for c in counts[:2]]
    assert sum(areas) / 2 == pytest.approx(score(report, "knn", "macro_map"))
    assert counts[2].average_precision is None and counts[2].recall is None and counts[2].precision is None
    label = truths(folder)
    for name, c in zip(("red", "green"), counts, strict=False):
        assert c.hits + c.misses == sum(name in text.split("|") for text in label.values())
        assert c.recall == c.hits / (c.hits + c.misses)
    for m in report.details.mistakes:
        assert m.truth == (label[m.key].replace("|", ", ") or "none") != m.said


def test_residuals_give_the_error_of_the_whole(lamps, tiny_encoder):
    folder = lamps("regression")
    report = evaluate([tiny_encoder()], folder, scales=(1,), protocols=["linear"])
    (found,) = report.details.residuals
    label = truths(folder)
    assert [t for t, _ in found.points] == pytest.approx([float(label[k]) for k in report.details.keys])
    assert math.hypot(found.mean, found.spread) == pytest.approx(score(report, "linear", "rmse"))
    first = report.details.mistakes[0]
    said = dict(zip(report.details.keys, (s for _, s in found.points), strict=True))
    assert abs(first.size) == pytest.approx(max(abs(said[k] - float(label[k])) for k in label))
    assert first.size == pytest.approx(said[first.key] - float(label[first.key]))
    content = json.loads(report.to_json())
    assert content["residuals"][0] == {
        "encoder": "vit",
        "protocol": "linear",
        "scale": 1.0,
        "mean": found.mean,
        "spread": found.spread,
        "slope": found.slope,
    }
    assert len(content["mistakes"]) == 24 and "picture" not in content["mistakes"][0]


def test_retrieval_alone_decides_nothing_and_so_has_no_errors_to_show(make_splits, tiny_encoder):
    report = evaluate([tiny_encoder()], make_splits((30, 10, 12)), scales=(1,), protocols=["retrieval"])
    assert report.details.mistakes == [] and report.details.confusions == []
