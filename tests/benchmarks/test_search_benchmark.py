from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_the_benchmark_of_search_measures_all_that_it_names():
    command = [sys.executable, "-m", "benchmarks.search", "--json", "--rows", "4000", "--graph-rows", "1500"]
    command += ["--width", "32", "--queries", "8", "--rounds", "3", "--threads", "1,2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    names = ["machine", "index", "floor", "single", "batch", "floor", "single", "batch", "hnsw"]
    assert [row["name"] for row in rows] == names
    assert all(row["recall_at_10"] == 1 for row in rows if row["name"] in ("single", "batch"))
    assert [row["threads"] for row in rows if row["name"] == "floor"] == [1, 2]
    assert rows[-1]["recall_at_10"] >= 0.95 and rows[-1]["rows"] == 1500 and rows[3]["ratio_to_floor"] > 0
