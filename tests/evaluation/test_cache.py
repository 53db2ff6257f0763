"""Kept features: the same scores to the bit, and a miss after any change of what they depend on."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ecotone.encoders import Readout
from ecotone.errors import RecipeError
from ecotone.evaluation import cache as cache_module
from ecotone.evaluation import evaluate
from ecotone.evaluation.cache import FeatureCache
from ecotone.evaluation.features import Reader


@pytest.fixture
def folder(lamps):
    return lamps("multilabel", counts=(20, 10, 12))


@pytest.fixture
def reads(monkeypatch):
    """The number of images that were read, split by split."""
    counted = []
    plain = Reader.batches

    def batches(self, dataset, view, indices=None):
        for batch in plain(self, dataset, view, indices):
            counted.append(len(batch))
            yield batch

    monkeypatch.setattr(Reader, "batches", batches)
    return counted


def run(encoder, folder, kept, **options):
    options = {"scales": (1, 0.5), "protocols": ["knn"], "audits": (), **options}
    return evaluate([encoder], folder, cache=kept, **options)


def files(kept):
    return sorted(p.name for p in kept.rglob("*.safetensors"))


def test_a_hit_reads_no_image_and_gives_the_same_report_to_the_bit(folder, tiny_encoder, tmp_path, reads):
    encoder = tiny_encoder(patch=8)  # 16 pixels suit it
    first = run(encoder, folder, tmp_path / "kept")
    assert sum(reads) > 0
    reads.clear()
    again = run(encoder, folder, tmp_path / "kept")
    assert reads == []
    assert again.to_json() == first.to_json() == run(encoder, folder, None).to_json()
    assert not list((tmp_path / "kept").rglob("*.tmp"))


def test_another_protocol_uses_the_features_of_the_first(folder, tiny_encoder, tmp_path, reads):
    run(tiny_encoder(), folder, tmp_path / "kept")
    reads.clear()
    run(tiny_encoder(), folder, tmp_path / "kept", protocols=["linear", "retrieval"])
    assert reads == []


def test_images_that_were_resized_are_counted_on_a_hit_as_well(folder, tiny_encoder, tmp_path):
    from PIL import Image as Picture

    Picture.open(folder / "test3.png").resize((18, 14)).save(folder / "test3.png")
    first, again = (run(tiny_encoder(), folder, tmp_path / "kept", scales=(1,)) for _ in range(2))
    assert first.warnings == again.warnings
    assert any("1 images of another size" in text for text in again.warnings)


def weights(encoder, folder):
    with torch.no_grad():
        encoder.cls_token += 1


def readout(encoder, folder):
    encoder.readout = Readout(pooling="mean-std")


def spec(encoder, folder):
    role = encoder.spec.roles["optical"]
    changed = role.model_copy(update={"normaliser": role.normaliser.model_copy(update={"std": (31.0, 30.0, 30.0)})})
    encoder.spec = encoder.spec.model_copy(update={"roles": {"optical": changed}})


def pixels(encoder, folder):
    (folder / "test1.png").write_bytes((folder / "test2.png").read_bytes())


def touched(encoder, folder):
    os.utime(folder / "test1.png", ns=(1, 1))


def label(encoder, folder):
    text = (folder / "manifest.csv").read_text()
    (folder / "manifest.csv").write_text(text.replace("test0.png,", "test0.png,blue|", 1).replace("|,", ","))


def declaration(encoder, folder):
    text = (folder / "dataset.yaml").read_text()
    (folder / "dataset.yaml").write_text(text.replace("gsd: 10.0", "gsd: 12.0"))


@pytest.mark.parametrize("change", [weights, readout, spec, pixels, touched, label, declaration])
def test_a_change_of_model_or_data_misses(folder, tiny_encoder, tmp_path, reads, change):
    encoder = tiny_encoder()
    run(encoder, folder, tmp_path / "kept", scales=(1,), floors=False)
    before = files(tmp_path / "kept")
    reads.clear()
    change(encoder, folder)
    run(encoder, folder, tmp_path / "kept", scales=(1,), floors=False)
    assert sum(reads) == 42
    assert len(files(tmp_path / "kept")) == 2 * len(before)


@pytest.mark.parametrize(
    "options", [{"gsd": 20.0}, {"batch_size": 7}, {"scales": (0.5,), "scale_protocol": "native"}, {"scales": (0.5,)}]
)
def test_another_way_to_read_misses(folder, tiny_encoder, tmp_path, reads, options):
    encoder = tiny_encoder()
    run(encoder, folder, tmp_path / "kept", scales=(1,), floors=False)
    reads.clear()
    run(encoder, folder, tmp_path / "kept", **{"scales": (1,), "floors": False, **options})
    assert sum(reads) >= 12


def test_another_seed_of_the_floors_misses_them_alone(folder, tiny_encoder, tmp_path):
    run(tiny_encoder(), folder, tmp_path / "kept", scales=(1,))
    before = files(tmp_path / "kept")
    run(tiny_encoder(), folder, tmp_path / "kept", scales=(1,), seeds=2)
    assert len(files(tmp_path / "kept")) == len(before) + 3 * 3  # three random floors, three splits


@pytest.mark.parametrize("name", ["data", "code", "torch"])
def test_other_data_code_or_torch_have_other_files(tmp_path, monkeypatch, name):
    facts = {"split": "train"}
    first = FeatureCache(tmp_path, "a")
    path, second = first.path(facts), first
    if name == "data":
        second = replace(first, data="b")
    elif name == "code":
        monkeypatch.setattr(cache_module, "_code", lambda: "another version")
    else:
        monkeypatch.setattr(torch, "__version__", "0.0")
    assert second.path(facts) != path
    assert first.path({"split": "val"}) not in (path, second.path(facts))


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_damaged_files_are_noticed_and_made_anew(folder, tiny_encoder, tmp_path, damage):
    kept = tmp_path / "kept"
    first = run(tiny_encoder(), folder, kept, scales=(1,), floors=False)
    path = next(kept.rglob("*.safetensors"))
    whole = load_file(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        with safe_open(path, "pt") as file:
            save_file({**whole, "features": whole["features"] + 1}, path, metadata=file.metadata())
    with pytest.warns(UserWarning, match="damaged and computed anew"):
        again = run(tiny_encoder(), folder, kept, scales=(1,), floors=False)
    assert again.to_json() == first.to_json()
    assert load_file(path)["features"].equal(whole["features"])


def test_a_folder_that_cannot_be_written_costs_the_cache_and_not_the_scores(folder, tiny_encoder, tmp_path):
    (tmp_path / "kept").write_text("a file, not a folder")
    with pytest.warns(UserWarning, match="features are not kept"):
        report = run(tiny_encoder(), folder, tmp_path / "kept", scales=(1,), floors=False)
    assert json.loads(report.to_json())["results"]


def test_datasets_that_are_open_already_are_not_kept(make_splits, tiny_encoder, tmp_path):
    with pytest.raises(RecipeError, match="only features of a dataset folder"):
        evaluate([tiny_encoder()], make_splits(), cache=tmp_path)
