"""The demo at a size for tests: every step runs, and a stopped one goes on where it was."""

from __future__ import annotations

import json
import re
import time

from ecotone.demo import run_demo
from ecotone.demo.page import write_page
from ecotone.demo.story import Size

SMALL = Size(chips=90, images=64, scene=256, scales=(1.0,))


def test_the_demo_tells_its_story_on_one_page_and_goes_on_after_a_stop(tmp_path):
    said = []
    story = run_demo(tmp_path, SMALL, lambda step, done, total: said.append(step))
    page = write_page(story).read_text("utf-8")
    assert list(dict.fromkeys(said)) == ["synthetic Earth", "pretraining", "evaluation", "embedding", "search"]
    assert "This imagery is synthetic." in page
    assert not re.search(r"(src|href)=\"(https?:|/)", page)  # nothing is fetched
    scores = json.loads((tmp_path / "evaluation.json").read_text())
    assert {r["scale"] for r in scores["results"]} == {1.0} and any(r["floor"] for r in scores["results"])
    assert story.embedding["rows"] == (256 // 32) ** 2

    log = (tmp_path / "scale-mae" / "log.jsonl").read_bytes()
    made = (tmp_path / "chips" / "manifest.csv").stat().st_mtime_ns
    time.sleep(0.01)
    again = run_demo(tmp_path, SMALL)
    assert (tmp_path / "scale-mae" / "log.jsonl").read_bytes() == log
    assert (tmp_path / "chips" / "manifest.csv").stat().st_mtime_ns == made
    assert again.report is not None and story.report is not None
    assert again.report.contract.hash == story.report.contract.hash
