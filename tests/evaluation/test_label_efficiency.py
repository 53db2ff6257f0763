from __future__ import annotations

import pytest
import torch

from ecotone.evaluation import evaluate


def hazy(splits):
    """Every band of every image is brightened or darkened, so that few labels do not tell the classes."""
    g = torch.Generator().manual_seed(5)
    for data in splits.values():
        haze = 40 * torch.randn(len(data), 3, 1, 1, generator=g)
        data.pixels = (110 + 0.5 * (data.pixels.float() - 110) + haze).clamp(0, 255).byte()
    return splits


def test_more_labels_help_and_all_labels_give_the_score_itself(make_splits, tiny_encoder, tmp_path):
    splits = hazy(make_splits((300, 30, 60)))
    report = evaluate([tiny_encoder()], splits, scales=(1,), protocols=["knn"], floors=False, audits=("labels",))
    [finding] = report.audits
    found = {f.setting: f for f in finding.figures}
    assert list(found) == ["5 %", "10 %", "50 %", "100 %"]
    assert any(text.startswith("1 % of the labels are fewer") for text in report.warnings)
    assert found["100 %"].value == pytest.approx(report.rows[0].value)
    assert found["100 %"].ci95 == pytest.approx(report.rows[0].ci95)
    assert found["5 %"].value < found["100 %"].value
    assert found["5 %"].detail == "15 labels" and found["100 %"].detail == "300 labels"
    report.save_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "share of the train labels" in page and "Label efficiency" in page


def test_the_test_split_is_read_after_all_choices(make_splits, tiny_encoder):
    splits = make_splits((60, 20, 20))
    evaluate([tiny_encoder()], splits, scales=(1,), protocols=["knn"], floors=False, audits=("labels",))
    log = splits["test"].log
    last = len(log) - 1 - log[::-1].index("train")
    assert log[last + 1 :].count("test") == 20
