from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_the_benchmark_of_the_evaluator_measures_all_that_it_names():
    command = [sys.executable, "-m", "benchmarks.evaluate", "--json", "--images", "200", "--gallery", "5000"]
    command += ["--queries", "50", "--repeats", "1", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["name"] for row in rows] == ["machine", "extraction", "probe", "probe", "probe", "knn"]
    assert [row["images"] for row in rows[2:5]] == [50, 100, 200]
    assert rows[5]["largest_error_of_similarity"] < 1e-5
    assert rows[1]["ratio"] > 0
