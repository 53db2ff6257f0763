from __future__ import annotations

import json
from typing import Any

import pytest

from ecotone.evaluation.contract import Contract, Data, Gsd, ModelInput, Resize


@pytest.fixture
def contract(tiny_encoder):
    encoder = tiny_encoder()
    return Contract(
        ecotone="0.1.0",
        data=Data(name="d", manifest="m", split="s", split_kind="random", n={"train": 3, "val": 2, "test": 1}),
        inputs=(ModelInput(spec=encoder.spec, readout=encoder.readout),),
        resize=Resize(size=(32, 32), multiple=4, scale_protocol="native", scales=(1.0, 0.5)),
        gsd=Gsd(policy="fixed", source="declared", metres=10.0, fixed=5.0),
        task="classification",
        metrics={"knn": ("accuracy", "macro_f1")},
        protocols={"knn": {"k": 20, "temperature": 0.07}},
        seeds=(0,),
    )


def leaves(content: Any, path=()):
    if isinstance(content, dict):
        for key, value in content.items():
            yield from leaves(value, (*path, key))
    elif isinstance(content, list):
        for i, value in enumerate(content):
            yield from leaves(value, (*path, i))
    else:
        yield path, content


def changed(content: Any, path, value):
    copy = json.loads(json.dumps(content))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copy


def candidates(path, value):
    """Other legal values for a setting."""
    if path[-1] == "pooling":
        return ["class"]
    if path[-1] in ("fill",):
        return ["mean"]
    if path[-1] == "policy":
        return ["pitch", "shuffled"]
    if path[-1] == "unit":
        return ["dn"]
    if isinstance(value, (int, float)):
        return [value + 1]
    return [f"{value}x", "other"]


FIXED = {"schema_version", "kind", "down", "up", "standardise", "selection"}  # one legal value yet


def test_the_hash_does_not_depend_on_the_order_of_keys(contract):
    content = json.loads(contract.canonical())
    backwards = json.loads(json.dumps(content), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert Contract.model_validate(backwards).hash == contract.hash


def test_every_setting_changes_the_hash(contract):
    content = contract.model_dump(mode="json")
    seen = 0
    for path, value in leaves(content):
        if path[-1] in FIXED:
            continue
        for other in candidates(path, value):
            altered = Contract.model_validate(changed(content, path, other))
            assert altered.hash != contract.hash, path
        seen += 1
    assert seen > 25


def test_unknown_settings_are_refused(contract):
    with pytest.raises(ValueError, match="extra"):
        Contract.model_validate({**contract.model_dump(mode="json"), "mood": "good"})
