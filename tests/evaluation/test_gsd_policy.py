from __future__ import annotations

import pytest
import torch

from ecotone.errors import RecipeError
from ecotone.evaluation import evaluate
from ecotone.evaluation.gsd_policy import telling
from ecotone.evaluation.scales import scales_of_gsds


@pytest.fixture
def told(make_splits, tiny_encoder):
    """Evaluates an encoder that reads the GSD; gives the report and what it was told, batch by batch."""

    def run(policy, **options):
        encoder, seen = tiny_encoder(positions="gsd"), []
        encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]["optical"].gsd.clone()))
        options = {"scales": (1, 0.5), "protocols": ["knn"], "floors": False, **options}
        return evaluate([encoder], make_splits((40, 20, 60)), gsd_policy=policy, **options), torch.cat(seen)

    return run


def test_fixed_tells_one_value_everywhere_and_writes_it_down(told):
    for policy, value in (("fixed", 10.0), ("fixed:25", 25.0)):
        report, seen = told(policy, scale_protocol="native")
        assert seen.unique().tolist() == [value]
        assert (report.contract.gsd.policy, report.contract.gsd.fixed) == ("fixed", value)
        assert {(r.settings["gsd"], r.settings["gsd_policy"]) for r in report.rows} == {(value, "fixed")}
        assert {r.settings["effective_gsd"] for r in report.rows} == {10.0, 20.0}
        assert any(f"{value:g} m for every image" in text for text in report.caveats)


def test_shuffled_tells_the_pitches_of_all_scales_whatever_the_batches(told):
    report, seen = told("shuffled", scale_protocol="native")
    assert seen.unique().tolist() == [10.0, 20.0]
    train, val, test = seen[:40], seen[40:60], seen[120:180]
    assert all(len(part.unique()) == 2 for part in (train, val, test))  # no split and no scale has one value
    other, again = told("shuffled", scale_protocol="native", batch_size=7)
    assert again.equal(seen)
    assert [r.value for r in other.rows] == pytest.approx([r.value for r in report.rows], abs=0.04)
    assert any("control" in text for text in report.caveats)


def test_each_policy_is_a_contract_of_its_own(told):
    reports = [told(policy, scale_protocol="native")[0] for policy in ("pitch", "fixed", "fixed:25", "shuffled")]
    assert len({r.contract.hash for r in reports}) == 4


@pytest.mark.parametrize(
    ("policy", "message"), [("shufled", "shuffled"), ("fixed:-1", "cannot be read"), ("pitch:3", "cannot be read")]
)
def test_unknown_policies_are_refused(told, policy, message):
    with pytest.raises(RecipeError, match=message):
        told(policy)


def test_one_gsd_at_every_scale_cannot_be_shuffled(told):
    with pytest.raises(RecipeError, match="nothing to shuffle"):
        told("shuffled", scale_protocol="test-resized")
    with pytest.raises(RecipeError, match="as fixed:METRES"):
        telling("fixed", [], [1.0])


def test_absolute_gsds_are_reduced_to_and_named(told, tmp_path):
    report, seen = told("pitch", gsds=(40, 10, 20), scale_protocol="test-native")
    assert report.contract.resize.gsds == (10, 20, 40)
    assert {(r.scale, r.settings["effective_gsd"], r.settings["gsd"]) for r in report.rows} == {
        (1.0, 10.0, 10.0),
        (0.5, 20.0, 20.0),
        (0.25, 40.0, 40.0),
    }
    assert seen.unique().tolist() == [10.0, 20.0, 40.0]
    report.save_html(tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text("utf-8")
    assert '<th scope="col">40 m</th>' in html and "metres per pixel of detail" in html and "25 %" not in html


def test_gsds_that_images_cannot_have_are_refused():
    assert scales_of_gsds([20, 9.95], 10.0) == (1.0, 0.5)
    with pytest.raises(RecipeError, match="no detail can be added"):
        scales_of_gsds([5, 20], 10.0)
    with pytest.raises(RecipeError, match="one known GSD"):
        scales_of_gsds([20], None)
