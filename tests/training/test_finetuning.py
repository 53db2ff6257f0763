"""Fine-tuning: it learns, selects on val alone, resumes bit by bit; its parts do what their papers say."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage
from safetensors.torch import load_file

from ecotone.data import open_dataset
from ecotone.encoders import build_encoder
from ecotone.errors import DataError, RecipeError
from ecotone.evaluation.contract import Interval
from ecotone.evaluation.finetuned import score_test, with_intervals
from ecotone.inputs import Identity, InputSpec, RoleSpec
from ecotone.metrics import Answers
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch, ImageBatch
from ecotone.sensors import unit
from ecotone.training import Run, parse_recipe, run_recipe
from ecotone.training.finetuning import FineTune, finetune, parse_settings
from ecotone.training.finetuning.adapters import add_adapters, merge_adapters
from ecotone.training.finetuning.depth import Depths, blocks_of, layer_groups
from ecotone.training.finetuning.droppath import DropPath
from ecotone.training.finetuning.mixing import mix
from ecotone.training.finetuning.subset import balanced, share_of_labels
from ecotone.weights import load_model, load_predictor

KINDS = {
    "vit": {"patch": 8, "width": 16, "depth": 3, "heads": 2},
    "spectral-vit": {"patch": 8, "width": 16, "depth": 3, "heads": 2, "group": 3, "image_size": 16},
    "convnext": {"dims": (8, 8, 16, 16), "depths": (1, 1, 2, 1)},
}


def encoder(kind: str = "vit", seed: int = 0):
    torch.manual_seed(seed)
    role = RoleSpec(sensor="rgb", bands=("R", "G", "B"), unit="uint8", normaliser=Identity())
    return build_encoder(kind, InputSpec(roles={"optical": role}, size_multiple=8), None, KINDS[kind]).eval()


def batch(n: int = 6, size: int = 16, valid: torch.Tensor | None = None) -> Batch:
    pixels = torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1)) * 4
    image = ImageBatch.of(pixels, bands=("R", "G", "B"), unit=unit("uint8"), gsd=10.0, valid=valid)
    return Batch(images={"optical": image}, keys=("",) * n, seeds=torch.arange(n))


@pytest.fixture(scope="session")
def pretrained(tiles, tmp_path_factory) -> Path:
    """A small model that has hardly learnt anything."""
    recipe = {
        "name": "small",
        "data": {"path": str(tiles), "split": "train"},
        "encoder": {
            "config": {"patch": 8, "width": 32, "depth": 2, "heads": 2},
            "readout": {"pooling": "mean-std"},
        },
        "method": {
            "kind": "mae",
            "config": {"mask_ratio": 0.5, "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 1},
        },
        "stage": {"images": 64, "batch_size": 16, "precision": "fp32"},
    }
    folder = tmp_path_factory.mktemp("pretrained") / "run"
    run_recipe(parse_recipe(recipe), folder)
    return folder


def settings(model: Path, data: Path, **changes) -> FineTune:
    small = {"epochs": 4, "batch_size": 12, "checks": 5, "precision": "fp32"}
    return parse_settings({"model": str(model), "data": str(data), **small, **changes})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for part in ("model", "head"):
        found |= {f"{part}.{k}": v for k, v in load_file(folder / "model" / f"{part}.safetensors").items()}
    return found


def assert_same_weights(a: Path, b: Path) -> None:
    left, right = weights(a), weights(b)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[k], right[k]) for k in left)


def losses(folder: Path) -> list[float]:
    return [r["loss/total"] for r in Run(folder).rows() if "loss/total" in r]


@pytest.mark.parametrize("mode", ["full", "frozen", "lora"])
def test_each_mode_delivers_a_predictor_no_worse_on_val_than_its_start(pretrained, tiles, tmp_path, mode):
    done = finetune(settings(pretrained, tiles, mode=mode, ema=0.5, mixup=0.3, cutmix=0.3), tmp_path / "run")
    assert done.val["accuracy"] >= done.start["accuracy"]
    assert done.val["accuracy"] > 0.8
    loaded = load_predictor(tmp_path / "run")
    assert loaded.predictor.classes == ("noise", "stripes")
    before, after = load_model(pretrained).encoder.state_dict(), loaded.model.encoder.state_dict()
    assert before.keys() == after.keys()
    same = all(torch.equal(before[k], after[k]) for k in before)
    assert same if mode == "frozen" or done.images == 0 else not same
    assert loaded.model.card.provenance["from"]["hash"] == load_model(pretrained).hash
    assert (tmp_path / "run" / "pictures" / "curve.png").is_file()
    recorded = yaml.safe_load((tmp_path / "run" / "finetune.yaml").read_text())
    assert (recorded["size"], recorded["batch_size"], recorded["mode"]) == (24, 12, mode)
    assert None not in (recorded["lr"], recorded["layer_decay"], recorded["transforms"])


def test_from_scratch_keeps_the_architecture_and_nothing_else(pretrained, tiles, tmp_path):
    done = finetune(settings(pretrained, tiles, from_scratch=True, epochs=1, checks=1), tmp_path / "run")
    assert done.start["accuracy"] <= 0.75
    log = Run(tmp_path / "run").rows()
    assert log[0]["val/loss"] == pytest.approx(np.log(2), abs=1e-3)  # the head is zero, whatever the encoder gives
    model = load_model(tmp_path / "run")
    assert model.card.provenance["from"]["scratch"] is True
    assert model.encoder.config() == load_model(pretrained).encoder.config()


@pytest.mark.parametrize("changes", [{"ema": 0.9, "mixup": 0.3}, {"mode": "lora"}, {"workers": 2}])
def test_a_stopped_fine_tuning_resumes_bit_by_bit(pretrained, tiles, tmp_path, changes):
    wanted = settings(pretrained, tiles, **changes)
    finetune(wanted, tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop_at_100(row):
        if row["images"] >= 100:
            raise Stop

    with pytest.raises(Stop):
        finetune(wanted, tmp_path / "stopped", stop_at_100)
    finetune(wanted, tmp_path / "stopped")
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")
    checks = [[r for r in Run(tmp_path / run).rows() if "val/loss" in r] for run in ("whole", "stopped")]
    assert checks[0] == checks[1]
    assert_same_weights(tmp_path / "stopped", tmp_path / "whole")


def test_sigkill_changes_nothing_and_a_finished_run_is_delivered_again(pretrained, tiles, tmp_path):
    words = [sys.executable, "-m", "ecotone", "finetune", str(pretrained), "--data", str(tiles), "--epochs", "12"]
    words += ["--set", "checks=40", "--set", "precision=fp32", "--batch-size", "12"]
    finetune(settings(pretrained, tiles, epochs=12, checks=40), tmp_path / "whole")
    command = [*words, "--out", str(tmp_path / "killed")]
    process = subprocess.Popen(command)
    log = tmp_path / "killed" / "log.jsonl"
    while not (log.exists() and len(log.read_text().splitlines()) > 30) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for _ in range(2):
        subprocess.run(command, check=True)
        assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
        assert_same_weights(tmp_path / "killed", tmp_path / "whole")


def test_a_predictor_is_made_used_and_described_through_the_command_line(pretrained, tiles, tmp_path):
    def ecotone(*words: object) -> dict:
        done = subprocess.run(
            [sys.executable, "-m", "ecotone", *map(str, words), "--json", "-"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    made = ecotone(
        "finetune",
        pretrained,
        "--data",
        tiles,
        "--out",
        tmp_path / "run",
        "--labels",
        0.5,
        "--epochs",
        2,
        "--set",
        "checks=2",
    )
    assert made["val"]["accuracy"] >= made["start"]["accuracy"]
    assert made["train_samples"] == 30
    facts = ecotone("info", tmp_path / "run")
    assert facts["head"]["classes"] == ["noise", "stripes"]
    again = ecotone("finetune", tmp_path / "run", "--data", tiles, "--out", tmp_path / "second", "--mode", "frozen")
    assert again["val"]["accuracy"] > 0.8  # a predictor's folder is a model as well
    failed = subprocess.run(
        [
            sys.executable,
            "-m",
            "ecotone",
            "finetune",
            str(pretrained),
            "--data",
            str(tiles),
            "--out",
            str(tmp_path / "x"),
            "--test",
        ],
        capture_output=True,
        text=True,
    )
    assert failed.returncode == 1
    assert "has no test split; found train, val" in failed.stderr
    assert not (tmp_path / "x").exists()
    assert "Traceback" not in failed.stderr


def test_other_settings_are_refused_in_a_run(pretrained, tiles, tmp_path):
    finetune(settings(pretrained, tiles, mode="frozen"), tmp_path / "run")
    with pytest.raises(RecipeError, match="another recipe: labels"):
        finetune(settings(pretrained, tiles, mode="frozen", labels=0.5), tmp_path / "run")


def test_the_test_split_is_not_read_before_the_end_and_scored_once(pretrained, tiles, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    for file in tiles.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "manifest.csv").unlink()
    lines = (tiles / "manifest.csv").read_text().splitlines()
    rows = [line.replace("train", "test") if i % 5 == 0 else line for i, line in enumerate(lines) if i]
    (folder / "manifest.csv").write_text("\n".join([lines[0], *rows]) + "\n")
    opened = []
    honest = open_dataset

    def spy(path, *, split=None, **options):
        opened.append(split)
        return honest(path, split=split, **options)

    monkeypatch.setattr("ecotone.training.finetuning.prepared.open_dataset", spy)
    monkeypatch.setattr("ecotone.evaluation.finetuned.open_dataset", spy)
    finetune(settings(pretrained, folder, mode="frozen"), tmp_path / "run")
    assert opened == ["train", "val"]
    found = score_test(tmp_path / "run", folder)
    assert opened == ["train", "val", "test"]
    value, (low, high) = found["scores"]["accuracy"]["value"], found["scores"]["accuracy"]["ci95"]
    assert low <= value <= high
    assert score_test(tmp_path / "run", folder) == json.loads((tmp_path / "run" / "test.json").read_text()) == found
    assert opened == ["train", "val", "test"]
    with pytest.raises(DataError, match="another model or dataset"):
        score_test(tmp_path / "run", tiles)


def test_intervals_of_a_share_are_those_of_a_binomial():
    judged = Answers((torch.arange(400) >= 300).long(), torch.zeros(400, dtype=torch.long))
    found = with_intervals("classification", judged, Interval())["accuracy"]
    assert found["value"] == 0.75
    assert found["ci95"] == pytest.approx([0.7075, 0.7925], abs=0.008)


def test_values_and_several_labels_are_learnt_too(pretrained, tiles, tmp_path):
    for task, name in (("regression", "rmse"), ("multilabel", "micro_map")):
        folder = tmp_path / task
        folder.mkdir()
        draw = np.random.default_rng(0)
        rows = ["path,label,split"]
        for i in range(60):
            bright, red = draw.uniform(50, 150), draw.integers(2)
            pixels = np.full((16, 16, 3), bright) + draw.normal(0, 5, (16, 16, 3))
            pixels[..., 0] += 60 * red
            PillowImage.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{i}.png")
            words = "|".join(w for w, said in (("bright", bright > 100), ("red", red)) if said)
            rows.append(f"{i}.png,{bright if task == 'regression' else words},{'val' if i % 3 == 0 else 'train'}")
        (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
        classes = {} if task == "regression" else {"classes": ["bright", "red"]}
        facts = {"name": task, "task": task, "sensor": "rgb", "bands": ["R", "G", "B"], "unit": "uint8", "gsd": 10.0}
        (folder / "dataset.yaml").write_text(yaml.safe_dump({**facts, **classes}))
        done = finetune(settings(pretrained, folder, epochs=2), tmp_path / f"{task}-run")
        assert done.val[name] < 20 if name == "rmse" else done.val[name] > 0.8
        predictor = load_predictor(tmp_path / f"{task}-run").predictor
        assert len(predictor.thresholds) == (2 if task == "multilabel" else 0)
        assert predictor.scaling[0] == pytest.approx(100 if task == "regression" else 0, abs=15)


def test_labels_that_are_no_numbers_are_refused(pretrained, tiles, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for file in tiles.glob("*.png"):
        (folder / file.name).symlink_to(file)
    (folder / "manifest.csv").write_text((tiles / "manifest.csv").read_text())
    facts = yaml.safe_load((tiles / "dataset.yaml").read_text())
    (folder / "dataset.yaml").write_text(yaml.safe_dump({**facts, "task": "regression"}))
    with pytest.raises(DataError, match="is no number; found"):
        finetune(settings(pretrained, folder), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "half"}, "the setting mode cannot be 'half'"),
        ({"layer_decy": 0.5}, "no setting 'layer_decy'. Did you mean 'layer_decay'"),
        ({"labels": 0}, "the setting labels cannot be 0"),
        ({"mode": "lora", "from_scratch": True}, "from scratch trains everything"),
        ({"mixup": 0.7, "cutmix": 0.7}, "shares of the images"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(RecipeError, match=message):
        parse_settings({"model": "m", "data": "d", **changes})
    assert parse_settings({"model": "m", "data": "d"}, ["drop_path=0.2"]).drop_path == 0.2


@given(st.integers(1, 300), st.integers(1, 8), st.integers(0, 5))
def test_shares_of_labels_are_stratified_and_nested(n, classes, seed):
    labels = [str(i % classes) for i in range(n)]
    parts = [share_of_labels(labels, share, seed) for share in (0.01, 0.1, 0.5, 1.0)]
    for small, large in pairwise(parts):
        assert set(small) <= set(large)
    assert parts[-1] == list(range(n))
    for part in parts:
        assert {labels[i] for i in part} == set(labels)
    counts = np.unique([labels[i] for i in parts[1]], return_counts=True)[1]
    assert counts.max() - counts.min() <= 1


def test_balanced_indices_show_every_class_equally_often():
    labels = ["a"] * 7 + ["b"] * 2 + ["c"]
    chosen = [labels[i] for i in balanced(labels)]
    assert {c: chosen.count(c) for c in "abc"} == {"a": 7, "b": 7, "c": 7}
    assert set(balanced(labels)) == set(range(10))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "vit",
            {"cls_token": 0, "patch_embed.proj.weight": 0, "blocks.0.attn.qkv.weight": 1, "blocks.2.norm1.bias": 3},
        ),
        ("spectral-vit", {"pos_embed_spatial": 0, "blocks.1.mlp.fc1.weight": 2, "norm.weight": 4}),
        (
            "convnext",
            {
                "stem.0.weight": 0,
                "stages.0.0.norm.bias": 1,
                "downsample_layers.1.1.weight": 3,
                "stages.2.1.grn.beta": 4,
            },
        ),
    ],
)
def test_the_depth_of_parameters(kind, expected):
    names = [n for n, _ in encoder(kind).named_parameters()]
    depths = Depths(names)
    assert {name: depths.of(name) for name in expected} == expected
    assert depths.top == (6 if kind == "convnext" else 4)
    assert len(blocks_of(encoder(kind))) == depths.top - 1


def test_learning_rates_fall_from_the_head_to_the_stem():
    made = encoder()
    whole = torch.nn.ModuleDict({"encoder": made, "head": torch.nn.Linear(16, 2)})
    groups = layer_groups(whole, made, peak=1.0, layer_decay=0.5, weight_decay=0.1)
    rate = {id(p): g["lr"] for g in groups for p in g["params"]}
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    assert len(rate) == len(list(whole.parameters()))
    found = {n: (rate[id(p)], decay[id(p)]) for n, p in whole.named_parameters()}
    assert found["head.weight"] == (1.0, 0.1)
    assert found["head.bias"] == (1.0, 0.0)
    assert found["encoder.norm.weight"] == (1.0, 0.0)
    assert found["encoder.blocks.2.mlp.fc1.weight"] == (0.5, 0.1)
    assert found["encoder.patch_embed.proj.weight"] == (0.0625, 0.1)
    assert found["encoder.cls_token"] == (0.0625, 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_drop_path_leaves_out_blocks_for_some_images_only_while_it_is_active(kind):
    made, twin = encoder(kind), encoder(kind)
    drop = DropPath(made, 0.9)
    assert made.state_dict().keys() == twin.state_dict().keys()
    images = batch(64)
    whole = twin(images).pooled
    assert torch.equal(made(images).pooled, whole)
    with drop.active(SampleRandom(images.seeds)):
        found = made(images).pooled
    changed = ~torch.isclose(found, whole, rtol=1e-4, atol=1e-5).all(1)
    assert changed.any()
    with drop.active(SampleRandom(images.seeds[:7])):  # what happens to an image does not depend on its batch
        assert torch.allclose(made(images.first(7)).pooled, found[:7], atol=1e-5)
    assert torch.equal(made(images).pooled, whole)


def test_drop_path_keeps_the_mean_of_what_a_block_adds():
    drop = DropPath(encoder(), 0.5)
    with drop.active(SampleRandom(torch.arange(20_000))):
        assert drop._scale is not None
        assert drop._scale.mean(0).tolist() == pytest.approx([1, 1, 1], abs=0.03)
        assert (drop._scale == 0).float().mean(0).tolist() == pytest.approx([0, 0.25, 0.5], abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_start_as_nothing_and_end_in_plain_weights(kind):
    made, plain = encoder(kind), encoder(kind)
    images = batch()
    assert add_adapters(made, 2) == sum(isinstance(m, torch.nn.Linear) for b in blocks_of(plain) for m in b.modules())
    assert torch.equal(made(images).pooled, plain(images).pooled)
    trainable = [p for p in made.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trainable) < sum(p.numel() for p in plain.parameters())
    for p in trainable:
        torch.nn.init.normal_(p, std=0.1)
    adapted = made(images).pooled
    assert not torch.allclose(adapted, plain(images).pooled, atol=1e-3)
    merge_adapters(made)
    assert made.state_dict().keys() == plain.state_dict().keys()
    assert torch.allclose(made(images).pooled, adapted, atol=1e-6)


def test_mixtures_mix_pixels_and_targets_alike():
    n = 400
    dark_and_bright = torch.zeros(n, 3, 16, 16, dtype=torch.uint8)
    dark_and_bright[::2] = 100
    image = ImageBatch.of(dark_and_bright, bands=("R", "G", "B"), unit=unit("uint8"), gsd=10.0)
    images = Batch(images={"optical": image}, keys=("",) * n, seeds=torch.arange(n))
    wanted = torch.eye(2)[torch.arange(n) % 2]
    mixed, soft = mix(images, wanted, SampleRandom(images.seeds), 0.3, 0.4)
    brightness = mixed["optical"].pixels.mean((1, 2, 3, 4)) / 100
    assert torch.allclose(brightness, soft[:, 0], atol=0.08)  # whole pixels are cut
    assert torch.allclose(soft.sum(1), torch.ones(n))
    assert (soft.max(1).values >= 0.5).all()
    assert float((soft.max(1).values == 1).float().mean()) == pytest.approx(0.3, abs=0.07)
    levels = mixed["optical"].pixels
    cut = ((levels == 0) | (levels == 100)).all(-1).all(-1).all(-1).all(-1) & (soft.max(1).values < 1)
    assert float(cut.float().mean()) == pytest.approx(0.4, abs=0.07)
    again, _ = mix(images, wanted, SampleRandom(images.seeds), 0.0, 0.0)
    assert again is images


def test_a_mixture_is_observed_where_both_images_are():
    valid = torch.ones(6, 1, 16, 16, dtype=torch.bool)
    valid[0, :, :8] = False
    images = batch(valid=valid)
    pixels = images["optical"].pixels.clone()
    pixels[0, :, :, :8] = float("nan")
    images = images.replace_images(optical=ImageBatch(**{**vars(images["optical"]), "pixels": pixels}))
    mixed = mix(images, torch.eye(6), SampleRandom(images.seeds), 1.0, 0.0)[0]["optical"]
    assert mixed.valid is not None
    assert not mixed.valid[[0, 1], :, :8].any()
    assert mixed.valid[2:].all()
    assert mixed.pixels.isfinite().all()
