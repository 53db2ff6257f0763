from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import typer
from PIL import Image as Picture
from scipy.fft import dctn
from typer.testing import CliRunner

from ecotone.cli import data_audit
from ecotone.data import duplicates, open_dataset
from ecotone.data.audit import audit
from ecotone.samples import Image
from ecotone.sensors import unit


def scene(seed: int, size: int = 64) -> np.ndarray:
    """(size, size, 3) uint8 of patches with edges, as fields have."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 220, (8, 8, 3)).repeat(size // 8, 0).repeat(size // 8, 1)
    return (coarse + rng.normal(0, 8, coarse.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def app():
    app = typer.Typer()
    data_audit.register(app)
    return app


@pytest.fixture
def folder(tmp_path):
    """Eight different scenes in three splits, and what a test adds to them by (array, label, split)."""

    def make(*more: tuple[np.ndarray, str, str], options=None):
        root = tmp_path / "tiles"
        root.mkdir()
        own = [(scene(i), "ab"[i % 2], s) for i, s in enumerate(["train"] * 4 + ["val"] * 2 + ["test"] * 2)]
        lines = ["path,label,split"]
        for i, (pixels, label, split) in enumerate([*own, *more]):
            name = f"{i}.jpg" if i >= len(own) and options else f"{i}.png"
            Picture.fromarray(pixels).save(root / name, **(options or {}) if name.endswith("jpg") else {})
            lines.append(f"{name},{label},{split}")
        (root / "manifest.csv").write_text("\n".join(lines) + "\n")
        (root / "dataset.yaml").write_text(
            "name: tiles\ntask: classification\nsensor: rgb\ngsd: 10\nclasses: [a, b, c]\n"
        )
        return root

    return make


def test_the_hash_is_that_of_the_cosine_transform():
    planes = duplicates.standardised(Image(torch.rand(1, 4, 32, 32), ("1", "2", "3", "4"), unit("reflectance")))
    low = np.asarray(dctn(planes.mean(0).numpy(), type=2))[:8, :8]
    assert duplicates.perceptual_hash(planes) == np.packbits((low > np.median(low)).ravel()).view(np.uint64)[0]


def test_close_pairs_are_those_of_a_plain_loop_across_blocks(monkeypatch):
    monkeypatch.setattr(duplicates, "BLOCK", 7)
    hashes = np.random.default_rng(0).integers(0, 2**10, 40, dtype=np.uint64)
    far = [(i, j, (int(hashes[i]) ^ int(hashes[j])).bit_count()) for i in range(40) for j in range(i + 1, 40)]
    assert sorted(duplicates.close_pairs(hashes, 3)) == [p for p in far if p[2] <= 3]


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: (x * 0.7 + 30).astype(np.uint8),
        lambda x: (x + np.random.default_rng(9).normal(0, 12, x.shape)).clip(0, 255).astype(np.uint8),
        lambda x: np.array(Picture.fromarray(x).resize((48, 48), Picture.Resampling.BICUBIC)),
    ],
    ids=["copy", "contrast", "noise", "resized"],
)
def test_a_changed_copy_in_another_split_is_found_and_nothing_else(folder, change):
    found = audit(open_dataset(folder((change(scene(2)), "a", "test"))))
    assert [t.keys for t in found.twins] == [("2.png", "8.png")]
    assert found.leaks == 1
    counted = {(o.split, o.against): o.images for o in found.overlaps}
    assert counted.pop(("test", "train")) == 1 and not any(counted.values())
    assert any("1 of 3 test images (33.3%) have a near-duplicate in train" in w for w in found.warnings())


def test_a_recompressed_copy_is_found(folder):
    found = audit(open_dataset(folder((scene(4), "a", "train"), options={"quality": 40})))
    assert [t.splits for t in found.twins] == [("val", "train")]


def test_tiles_without_features_are_no_duplicates_whatever_their_hashes(folder):
    flat = np.full((64, 64, 3), 70, np.uint8)
    sea = [(flat + np.random.default_rng(i).integers(0, 3, flat.shape)).astype(np.uint8) for i in (1, 2)]
    data = open_dataset(folder(*((x, "a", s) for x, s in zip([flat, flat, *sea], ["train", "test"] * 2, strict=True))))
    found = audit(data, radius=63)
    assert found.leaks == 0 and found.featureless == ["8.png", "9.png"]


def test_bands_that_differ_in_number_never_match():
    planes = duplicates.standardised(Image(torch.rand(1, 4, 32, 32), ("1", "2", "3", "4"), unit("reflectance")))
    assert duplicates.pixel_correlation(planes, planes[:3]) == 0
    assert duplicates.pixel_correlation(planes, planes) == pytest.approx(1)


def test_unobserved_pixels_do_not_count():
    pixels = torch.rand(1, 3, 32, 32)
    valid = torch.ones(1, 32, 32, dtype=torch.bool)
    valid[:, :8] = False
    spoilt = torch.where(valid.unsqueeze(1), pixels, 9999.0)
    a, b = (
        duplicates.standardised(Image(x, ("1", "2", "3"), unit("reflectance"), valid=valid)) for x in (pixels, spoilt)
    )
    assert torch.equal(a, b)


def test_classes_that_a_split_lacks_and_shares_that_differ_are_told(folder):
    found = audit(open_dataset(folder(*((scene(50 + i), "a", "test") for i in range(4)))))
    assert found.balance["train"].absent == ["c"] and found.balance["train"].distance is None
    assert found.balance["test"].ratio == 5
    assert found.balance["test"].distance == pytest.approx(5 / 6 - 1 / 2)
    assert any("class shares of test are 0.33 away" in w for w in found.warnings())


def test_the_verb_writes_json_and_picture_and_its_exit_code_tells_a_leak(app, folder, tmp_path):
    root = folder((scene(0), "b", "test"))
    (root / "3.png").write_bytes(b"broken")
    result = CliRunner().invoke(app, f"{root} --json {tmp_path}/a.json --picture {tmp_path}/twins.png")
    assert result.exit_code == 3, result.output
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["leaks"] == 1 and content["twins"][0]["labels"] == ["a", "b"]
    assert list(content["broken"]) == ["3.png"] and "pairs" not in content
    assert any("two labels" in w for w in content["warnings"])
    assert Picture.open(tmp_path / "twins.png").size[1] == 104


def test_a_clean_dataset_ends_with_exit_code_0(app, folder):
    assert CliRunner().invoke(app, str(folder())).exit_code == 0
