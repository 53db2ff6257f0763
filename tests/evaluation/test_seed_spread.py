from __future__ import annotations

import pytest

from ecotone.evaluation import evaluate


def test_every_random_floor_follows_the_seeds_and_shows_each(make_splits, tiny_encoder):
    report = evaluate([tiny_encoder()], make_splits(), scales=(1,), protocols=["knn"], seeds=2)
    each = {r.encoder: (r.value, r.settings["seed_values"]) for r in report.rows if "seed_values" in r.settings}
    assert set(each) == {"random convolutions 4x4 + ZCA", "random init", "small network from scratch"}
    for value, values in each.values():
        assert len(values) == 2 and value == pytest.approx(sum(values) / 2)
