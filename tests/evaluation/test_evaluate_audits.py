from __future__ import annotations

import json

import pytest

from ecotone.errors import RecipeError
from ecotone.evaluation import evaluate


def test_a_copy_of_a_train_image_in_test_is_told_at_the_head_of_the_report(make_splits, tiny_encoder):
    splits = make_splits()
    splits["test"].pixels[:3] = splits["train"].pixels[:3]
    report = evaluate([tiny_encoder()], splits, scales=(1,), protocols=["knn"], floors=False)
    sentence = "3 of 120 test images (2.5%) have a near-duplicate in train."
    assert sentence in report.warnings
    found = json.loads(report.to_json())["audits"]["duplicates"]["facts"]
    assert {tuple(t["splits"]) for t in found["twins"]} == {("train", "test")}


def test_audits_move_neither_scores_nor_contract(make_splits, tiny_encoder):
    splits = make_splits()
    one, other = (
        evaluate([tiny_encoder()], splits, scales=(1,), protocols=["knn"], audits=audits)
        for audits in ((), ("duplicates",))
    )
    assert one.contract.hash == other.contract.hash
    assert [r.value for r in one.rows] == [r.value for r in other.rows]
    assert one.audits == [] and len(other.audits) == 1


def test_an_unknown_audit_is_refused_before_an_image_is_read(make_splits, tiny_encoder):
    splits = make_splits()
    with pytest.raises(RecipeError, match="Did you mean 'leakage'"):
        evaluate([tiny_encoder()], splits, audits=("leakages",))
    assert not splits["train"].log
