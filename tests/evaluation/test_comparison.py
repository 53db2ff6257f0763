"""Models against each other on equal terms."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecotone.errors import RecipeError
from ecotone.evaluation import evaluate
from ecotone.evaluation.comparison import Scored, holm, p_value, pairs
from ecotone.evaluation.efficiency import Point, cost_plot
from ecotone.evaluation.intervals import Estimate
from ecotone.weights import save_model


def scored(name: str, value: float, draws: np.ndarray, metric: str = "accuracy") -> Scored:
    return Scored(name, "knn", 1.0, metric, Estimate(value, draws))


def test_holm_gives_the_known_values():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # statsmodels says the same


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_only_raises_keeps_the_order_and_lies_below_bonferroni(p):
    found = holm(p)
    assert all(a <= b <= min(1, a * len(p)) for a, b in zip(p, found, strict=True))
    assert [found[i] for i in np.argsort(p, kind="stable")] == sorted(found)


def test_the_p_value_falls_below_one_minus_the_level_as_the_interval_leaves_zero():
    draws = np.random.default_rng(0).normal(size=4000)
    for shift in np.linspace(-4, 4, 33):
        gap = Estimate(shift, draws + shift)
        low, high = gap.interval(0.95)
        if abs(p_value(gap) - 0.05) > 0.002:
            assert (p_value(gap) < 0.05) == (low > 0 or high < 0)
    assert p_value(Estimate(0.0, np.zeros(100))) == 1


def test_many_pairs_need_more_evidence_and_few_samples_get_no_verdict():
    noise = np.random.default_rng(0).normal(0, 0.01, (8, 4000))
    models = [scored(f"m{i}", 0.5, 0.5 + n) for i, n in enumerate(noise[1:])]
    better = scored("best", 0.529, 0.529 + noise[0])
    assert [p.answer for p in pairs([better, models[0]], 200)] == ["better"]
    assert [p.answer for p in pairs([models[0], better], 200)] == ["worse"]
    crowd = pairs([better, *models], 200)
    assert len(crowd) == 8 * 7 / 2 and all(p.p_holm >= p.p for p in crowd)
    assert {p.answer for p in crowd if p.encoder == "best"} == {"level"}
    assert {p.answer for p in pairs([better, models[0]], 99)} == {"n too small"}


def test_of_an_error_less_is_better():
    noise = np.random.default_rng(0).normal(0, 0.01, 4000)
    (pair,) = pairs([scored("a", 1, 1 + noise, "rmse"), scored("b", 2, 2 - noise, "rmse")], 200)
    assert pair.value == -1 and pair.answer == "better"


def test_the_cost_plot_stands_for_one_model_and_escapes_names():
    svg = cost_plot([Point("<b>", 10.0, 0.5, 0.4, 0.6)], "t", "parameters", percent=True, floor=0.3)
    ticks = re.findall(r'text-anchor="end">([^<]*)<', cost_plot([Point("a", 1.0, 1, 1, 1)], "t", "x", percent=True))
    assert len(set(ticks)) == len(ticks) > 1
    assert "<b>" not in svg and "&lt;b&gt;" in svg and "best floor" in svg and "nan" not in svg


def test_rivals_are_judged_each_and_in_pairs_with_their_budgets(make_splits, tiny_encoder, tmp_path):
    known = {"images_seen": 5000, "core_hours": 1.5}
    save_model(tiny_encoder(), tmp_path / "a", name="x", image_size=32, provenance=known)
    models = [tmp_path / "a", tiny_encoder(seed=1), tiny_encoder(patch=8)]
    report = evaluate(models, make_splits(), scales=(1,), compare=True)
    content = json.loads(report.to_json())
    assert not any("mean of" in r["encoder"] for r in content["results"])
    assert {v.encoder for v in report.verdicts} == {"a", "vit #1", "vit #2"} and len(report.verdicts) == 2 * 3
    assert [(p["encoder"], p["against"]) for p in content["pairs"] if p["protocol"] == "knn"] == [
        ("a", "vit #1"),
        ("a", "vit #2"),
        ("vit #1", "vit #2"),
    ]
    values = {(r.encoder, r.protocol): r.value for r in report.rows}
    for p in report.pairs:
        assert p.value == pytest.approx(values[p.encoder, p.protocol] - values[p.against, p.protocol])
        assert p.ci95[0] <= p.value <= p.ci95[1] and p.answer in ("better", "worse", "level")
    card = content["models"][0]
    assert card["budget"]["pretraining_images"] == 5000 and card["budget"]["pretraining_core_hours"] == 1.5
    assert card["budget"]["pretraining_tflop"] is None
    assert card["budget"]["parameters"] == sum(p.numel() for p in tiny_encoder().parameters())
    assert card["budget"]["dimension"] == 16 and card["provenance"] == known
    assert card["inputs"]["optical"] == {
        "sensor": "rgb",
        "bands": ["R", "G", "B"],
        "unit": "uint8",
        "normaliser": "z-score",
        "gsd": [5.0, 100.0],
    }
    knn = next(s for s in card["scores"] if s["protocol"] == "knn")
    assert knn["value"] == values["a", "knn"]
    assert knn["best_floor_value"] == max(r.value for r in report.rows if r.floor and r.protocol == "knn")
    report.save_html(tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text("utf-8")
    for text in ("Models against each other", "What the models cost", "unknown", "Model cards", "by GFLOP per image"):
        assert text in html
    assert html.count("kNN, vit #2: ") == 1
    report.save_markdown(tmp_path / "page.md")
    assert "## Models against each other" in (tmp_path / "page.md").read_text("utf-8")


def test_flops_are_those_of_the_matrix_products(make_splits, tiny_encoder):
    report = evaluate([tiny_encoder(patch=4)], make_splits(), scales=(1,), protocols=["knn"], floors=False)
    n, d, blocks = 64 + 1, 16, 2  # tokens with the class token, width, depth
    block = 2 * n * d * (3 * d + d + 4 * d + 4 * d) + 2 * 2 * n * n * d
    stem = 2 * 64 * (3 * 4 * 4) * d
    assert report.models[0].budget.gflop == pytest.approx((stem + blocks * block) / 1e9, rel=1e-6)


def test_one_model_has_no_rival(make_splits, tiny_encoder):
    with pytest.raises(RecipeError, match="at least two models"):
        evaluate([tiny_encoder()], make_splits(), compare=True)
