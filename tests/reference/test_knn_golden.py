"""kNN votes of the official Scale-MAE code, without the faults of its feature bank."""

from __future__ import annotations

import json

import pytest
import torch
from roots import ROOT
from safetensors.torch import load_file

from ecotone.heads.knn import knn_scores


def cases():
    """(golden file, tensor file, case) for every golden file of any method that has kNN tensors beside it."""
    for golden in sorted(ROOT.glob("*/golden*.json")):
        tensors = golden.with_name(golden.stem.replace("golden", "knn") + ".safetensors")
        for name in json.loads(golden.read_text()).get("knn", {}) if tensors.is_file() else ():
            yield pytest.param(golden, tensors, name, id=f"{golden.parent.name}/{golden.stem}/{name}")


@pytest.mark.skipif(not list(cases()), reason="no golden kNN tensors; set ECOTONE_REFERENCE")
@pytest.mark.parametrize(("golden", "tensors", "name"), cases())
def test_votes_equal_the_golden_ones(golden, tensors, name):
    config = json.loads(golden.read_text())["knn"][name]
    found = load_file(tensors)
    prefix = name.removesuffix("_partial_batch")
    case = {k.removeprefix(f"{prefix}."): v for k, v in found.items() if k.startswith(f"{prefix}.")}
    train, labels = case.get("train_feat", case.get("feat")), case.get("train_label", case.get("label"))
    test, truth = case.get("test_feat", train), case.get("test_label", labels)
    scores = knn_scores(
        train,
        labels,
        test,
        classes=case["scores"].shape[1] if "scores" in case else int(labels.max()) + 1,
        k=config["k"],
        temperature=config.get("temperature", 0.07),
    )
    if "scores" in case:
        torch.testing.assert_close(scores, case["scores"], rtol=1e-5, atol=2e-5 * float(case["scores"].max()))
        assert scores.argmax(1).equal(case["pred"])
    assert (scores.argmax(1) == truth).double().mean().item() == pytest.approx(config["clean_accuracy"])
