"""The loop: it learns, resumes bit by bit, survives a kill, and does not care how many processes share the batch."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from ecotone.errors import DataError, RecipeError, TrainingError
from ecotone.methods import MAE
from ecotone.training import Run, load_recipe, parse_recipe, run_recipe
from ecotone.weights import load_model

PRETRAIN = [sys.executable, "-m", "ecotone", "pretrain"]


def losses(folder: Path) -> list[float]:
    return [r["loss/total"] for r in Run(folder).rows() if "loss/total" in r]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def assert_same_weights(a: Path, b: Path) -> None:
    left, right = weights(a), weights(b)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[k], right[k]) for k in left)


@pytest.fixture
def file(recipe, tmp_path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def test_training_learns_and_delivers(recipe, tmp_path):
    recipe["stage"]["images"] = 1200
    recipe["monitor"]["every_images"] = 600
    run = run_recipe(parse_recipe(recipe), tmp_path / "run")
    found = losses(run.folder)
    assert sum(found[-20:]) < 0.9 * sum(found[:20])
    watched = [r for r in run.rows() if "knn_val" in r]
    assert len(watched) == 2
    assert watched[-1]["knn_val"] > 0.5
    assert list((run.folder / "pictures").glob("*.png"))
    assert list((run.folder / "tensorboard").iterdir())
    model = load_model(run.folder)
    assert model.card.encoder.image_size == 16
    assert model.encoder.spec.optical.bands == ("R", "G", "B")
    cost = model.card.provenance
    assert cost["images_seen"] == 1200
    assert 0 < cost["core_hours"] < 1 and cost["training_tflop"] > 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_run_resumes_bit_by_bit(recipe, tmp_path, workers):
    recipe["workers"] = workers
    recipe["stage"]["ema"] = 0.9
    whole = run_recipe(parse_recipe(recipe), tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop_at_100(row):
        if row["images"] >= 104:
            raise Stop

    with pytest.raises(Stop):
        run_recipe(parse_recipe(recipe), tmp_path / "stopped", stop_at_100)
    resumed = run_recipe(parse_recipe(recipe), tmp_path / "stopped")
    assert losses(resumed.folder) == losses(whole.folder)
    assert_same_weights(resumed.folder, whole.folder)


def test_sigkill_at_a_random_moment_changes_nothing(file, tmp_path):
    options = ["--set", "stage.images=1600", "--set", "monitor.path=null", "--set", "checkpoint_every_images=64"]
    subprocess.run([*PRETRAIN, str(file), "--out", str(tmp_path / "whole"), *options], check=True)
    command = [*PRETRAIN, str(file), "--out", str(tmp_path / "killed"), *options]
    process = subprocess.Popen(command)
    log = tmp_path / "killed" / "log.jsonl"
    while not log.exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(random.uniform(0, 1.0))
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(command, check=True)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    assert_same_weights(tmp_path / "killed", tmp_path / "whole")


def test_a_run_killed_before_its_first_state_starts_anew(recipe, tmp_path):
    recipe["checkpoint_every_images"] = 10_000

    def stop(row):
        if row["images"] == 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_recipe(parse_recipe(recipe), tmp_path / "run", stop)
    run = run_recipe(parse_recipe(recipe), tmp_path / "run")
    assert [r["images"] for r in run.rows() if "loss/total" in r] == list(range(8, 193, 8))


def test_two_processes_give_the_loss_of_one_with_twice_the_batch(file, tmp_path):
    options = ["--set", "stage.images=64", "--set", "monitor.path=null"]
    run_recipe(load_recipe(file, ["stage.images=64", "monitor.path=null"]), tmp_path / "one")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "ecotone", "pretrain", str(file), "--out", str(tmp_path / "two"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_accumulation_gives_the_loss_of_the_whole_batch(recipe, tmp_path):
    whole = run_recipe(parse_recipe(recipe), tmp_path / "whole")
    recipe["stage"]["accumulate"] = 2
    parts = run_recipe(parse_recipe(recipe), tmp_path / "parts")
    assert losses(parts.folder) == pytest.approx(losses(whole.folder), rel=1e-4)


def test_a_loss_that_is_not_finite_stops_and_saves_the_batch(recipe, tmp_path, monkeypatch):
    honest = MAE.losses

    def broken(self, image, mask, prediction):
        broken.calls += 1
        found = honest(self, image, mask, prediction)
        return {k: v * float("nan") for k, v in found.items()} if broken.calls == 6 else found

    broken.calls = 0
    monkeypatch.setattr(MAE, "losses", broken)
    with pytest.raises(TrainingError, match="after 40 images: the loss is nan"):
        run_recipe(parse_recipe(recipe), tmp_path / "run")
    saved = torch.load(tmp_path / "run" / "failed-batch-0.pt", weights_only=True)
    assert len(saved["keys"]) == 8
    assert Run(tmp_path / "run").load_state()["seen"] == 32
    assert not (tmp_path / "run" / "model").exists()


def test_a_run_of_another_recipe_is_refused(recipe, tmp_path):
    run_recipe(parse_recipe(recipe), tmp_path / "run")
    recipe["optimiser"]["lr"] = 0.01
    with pytest.raises(RecipeError, match="another recipe: optimiser differ"):
        run_recipe(parse_recipe(recipe), tmp_path / "run")


def test_a_folder_that_holds_something_else_is_refused(recipe, tmp_path):
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(DataError, match="not empty"):
        run_recipe(parse_recipe(recipe), tmp_path)
    assert (tmp_path / "letters.txt").read_text() == "dear"


def test_the_log_survives_a_row_cut_short(tmp_path):
    run = Run(tmp_path)
    run.log({"images": 8, "loss/total": 1.0})
    run.log({"images": 16, "loss/total": 0.5})
    with run.log_file.open("a") as log:
        log.write('{"images": 24, "lo')
    run.rewind_log(8)
    assert [r["images"] for r in map(json.loads, run.log_file.read_text().splitlines())] == [8]
