from __future__ import annotations

import pytest

from ecotone.evaluation import evaluate
from ecotone.inputs import TwoSigmaToUnit


def audited(tiny_encoder, splits, name, encoder=None, **options):
    options = {"protocols": ["knn-grid", "linear"], "floors": False, **options}
    report = evaluate([encoder or tiny_encoder()], splits, scales=(1,), audits=(name,), **options)
    [finding] = report.audits
    return report, finding, {(f.protocol, f.setting): f for f in finding.figures}


def spoilt(encoder):
    """The encoder behind statistics of reflectance: every pixel of an 8-bit image is saturated."""
    role = encoder.spec.optical.model_copy(update={"normaliser": TwoSigmaToUnit(mean=(0.3,) * 3, std=(0.1,) * 3)})
    encoder.spec = encoder.spec.model_copy(update={"roles": {"optical": role}})
    return encoder


def test_wrong_statistics_are_found_by_the_normaliser_audit(make_splits, tiny_encoder):
    splits = make_splits((80, 100, 40))
    report, _, found = audited(tiny_encoder, splits, "normalisers", spoilt(tiny_encoder()), protocols=["linear"])
    own, standard = found["linear", "its own"], found["linear", "z-score"]
    assert standard.difference == pytest.approx(standard.value - own.value)
    assert standard.difference_ci95 is not None and standard.difference_ci95[0] > 0
    assert any("'z-score' than behind its own" in w for w in report.warnings)


def test_the_own_normaliser_scores_as_the_protocol_does_on_val_and_no_test_image_is_read(make_splits, tiny_encoder):
    splits = make_splits((60, 40, 40))
    report, finding, found = audited(tiny_encoder, splits, "normalisers")
    for row in report.rows:
        assert found[row.protocol, "its own"].value == pytest.approx(row.settings["val_accuracy"])
    assert {f.split for f in finding.figures} == {"val"}
    assert splits["test"].log.count("test") == 40
    assert len({f.setting for f in finding.figures}) == 6


def test_the_audit_leaves_the_encoder_as_it_is(make_splits, tiny_encoder):
    encoder = tiny_encoder()
    spec, readout = encoder.spec, encoder.readout
    for name in ("normalisers", "heads"):
        audited(tiny_encoder, make_splits((30, 20, 20)), name, encoder, protocols=["knn"])
    assert (encoder.spec, encoder.readout) == (spec, readout)


def test_regret_is_what_the_best_candidate_on_test_would_have_added(make_splits, tiny_encoder):
    report, _, found = audited(tiny_encoder, make_splits((40, 12, 100)), "heads", tiny_encoder(pooling="mean"))
    rows = {r.protocol: r for r in report.rows}
    for protocol in ("knn-grid", "linear"):
        for what in ("head", "readout"):
            chosen, best = found[protocol, f"{what} chosen on val"], found[protocol, f"{what} best on test"]
            assert best.difference == pytest.approx(best.value - chosen.value)
            assert best.difference is not None and best.difference >= 0
            assert (best.difference == 0) or best.detail != chosen.detail
        assert found[protocol, "head chosen on val"].value == pytest.approx(rows[protocol].value)
    assert found["knn-grid", "head chosen on val"].detail == f"k {rows['knn-grid'].settings['k']}"


def test_a_protocol_that_chooses_nothing_has_no_regret_of_its_head(make_splits, tiny_encoder):
    _, _, found = audited(tiny_encoder, make_splits((30, 20, 20)), "heads", protocols=["knn"])
    assert {setting for _, setting in found} == {"readout chosen on val", "readout best on test"}
