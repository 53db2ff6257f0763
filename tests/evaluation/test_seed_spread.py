from __future__ import annotations

import csv
import re

import pytest

from ecotone.evaluation import evaluate


def test_every_random_floor_follows_the_seeds_and_shows_each_in_every_format(make_splits, tiny_encoder, tmp_path):
    report = evaluate([tiny_encoder()], make_splits(), scales=(1,), protocols=["knn"], seeds=2)
    each = {r.encoder: (r.value, r.settings["seed_values"]) for r in report.rows if "seed_values" in r.settings}
    assert set(each) == {"random convolutions 4x4 + ZCA", "random init", "small network from scratch"}
    for value, values in each.values():
        assert len(values) == 2 and value == pytest.approx(sum(values) / 2)
    for kind in ("csv", "markdown", "html"):
        getattr(report, f"save_{kind}")(tmp_path / kind)
    with (tmp_path / "csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    said = {x["encoder"]: [float(v) for v in x["seed_values"].split("|")] for x in lines if x["seed_values"]}
    assert {(x["encoder"], x["metric"]) for x in lines if x["seed_values"]} == {
        (name, metric) for name in each for metric in ("accuracy", "macro_f1")
    }
    assert set(said) == set(each)
    markdown, html = ((tmp_path / kind).read_text("utf-8") for kind in ("markdown", "html"))
    for name, (_, values) in each.items():
        spread = f"seeds {100 * min(values):.1f} to {100 * max(values):.1f}"
        assert re.search(rf"\| \*{re.escape(name)}\* \|[^\n]*\] {spread} \|", markdown)
        assert re.search(rf'<th scope="row">{re.escape(name)} <span(?:(?!</tr>).)*<small>{spread}</small>', html, re.S)
