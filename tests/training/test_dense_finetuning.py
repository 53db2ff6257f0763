"""Fine-tuning for every pixel: masks are read by value, move with their image, and a predictor learns them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
import torch
import torch.nn.functional as F
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture
from sklearn.metrics import jaccard_score
from sklearn.utils.class_weight import compute_class_weight

from ecotone.data import Masks, open_dataset, with_masks
from ecotone.data.inspection import contact_sheet, thumbnail
from ecotone.data.masks import TARGET, read_mask
from ecotone.encoders import Readout, build_encoder
from ecotone.errors import DataError, RecipeError
from ecotone.evaluation.finetuned import score_test
from ecotone.heads.tasks import confusion, figures, judge, loss
from ecotone.inputs import InputSpec, RoleSpec, ZScore
from ecotone.metrics import METRICS, Answers
from ecotone.randomness import SampleRandom
from ecotone.rasters import Declaration
from ecotone.samples import collate
from ecotone.training.finetuning import finetune, parse_settings
from ecotone.training.finetuning.pixel_probe import cell_classes, class_weights
from ecotone.training.resized import Resized
from ecotone.transforms import Flip, QuarterTurn, RandomResizedCrop
from ecotone.weights import load_predictor, save_model

SQUARE = {"name": "squares", "task": "segmentation", "sensor": "rgb", "unit": "uint8", "gsd": 10.0}


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """Images of a bright square on noise; the mask says 7 for the square, 3 for the rest and 0 along the left edge."""
    folder, draw = tmp_path_factory.mktemp("squares"), np.random.default_rng(0)
    rows = ["path,label,split"]
    for i in range(30):
        pixels, mask = draw.integers(0, 90, (32, 32, 3)), np.full((32, 32), 3)
        top, left, side = *draw.integers(0, 20, 2), draw.integers(8, 13)
        pixels[top : top + side, left : left + side] += 120
        mask[top : top + side, left : left + side] = 7
        mask[:, :2] = 0
        for name, values in (("i", pixels), ("m", mask)):
            (folder / name).mkdir(exist_ok=True)
            Picture.fromarray(values.astype(np.uint8)).save(folder / name / f"{i}.png")
        rows.append(f"i/{i}.png,m/{i}.png,{('train', 'train', 'val', 'test', 'train')[i % 5]}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    (folder / "dataset.yaml").write_text(yaml.safe_dump(SQUARE | {"classes": {3: "rest", 7: "square"}, "ignore": 0}))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    role = RoleSpec(
        sensor="rgb", bands=("R", "G", "B"), unit="uint8", normaliser=ZScore(mean=(60.0,) * 3, std=(50.0,) * 3)
    )
    config = {"patch": 4, "width": 16, "depth": 1, "heads": 2}
    encoder = build_encoder("vit", InputSpec(roles={"optical": role}, size_multiple=4), Readout(), config)
    return save_model(encoder, tmp_path_factory.mktemp("model"), name="tiny", image_size=32)


def settings(model, data, **changes):
    small = {"epochs": 6, "batch_size": 6, "checks": 3, "precision": "fp32"}
    return parse_settings({"model": str(model), "data": str(data), **small, **changes})


def test_a_mask_is_read_by_its_values_and_unlabelled_or_unobserved_pixels_say_nothing(squares):
    dataset = with_masks(open_dataset(squares, split="train"), squares)
    assert isinstance(dataset, Masks)
    assert (dataset.info.task, dataset.info.classes) == ("segmentation", ("rest", "square"))
    target = dataset[0].images[TARGET]
    stored = np.asarray(Picture.open(squares / "m" / "0.png"))
    expected = np.select([stored == 3, stored == 7], [0, 1], 255)
    assert np.array_equal(target.pixels[0, 0].numpy(), expected)
    assert (target.gsd, target.unit.quantity) == (10.0, "class")


def test_a_contact_sheet_outlines_the_classes_and_darkens_what_has_no_label(squares, tmp_path):
    dataset = with_masks(open_dataset(squares, split="train"), squares)
    plain, shown = (np.array(thumbnail(d[0]), int) for d in (open_dataset(squares, split="train"), dataset))
    codes = dataset[0].images[TARGET].pixels[0, 0].numpy().repeat(3, 0).repeat(3, 1)  # 32 pixels in a cell of 96
    yellow = (shown == (255, 220, 0)).all(2)
    edge = np.zeros_like(yellow)
    edge[:, 1:] |= codes[:, 1:] != codes[:, :-1]
    edge[1:] |= codes[1:] != codes[:-1]
    assert np.array_equal(yellow, edge)
    silent = (codes == 255) & ~edge
    assert np.array_equal(shown[silent], plain[silent] // 3)
    assert np.array_equal(shown[~silent & ~edge], plain[~silent & ~edge])
    assert contact_sheet(dataset, tmp_path / "sheet.png").is_file()


@pytest.mark.parametrize("palette", [False, True])
def test_values_without_a_mapping_count_from_zero_and_255_is_ignored(tmp_path, palette):
    codes = np.array([[0, 1], [2, 255]], np.uint8)
    picture = Picture.fromarray(codes)
    if palette:
        picture.putpalette([200, 10, 10] * 256)
    picture.save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png", ("a", "b", "c"), Declaration()).tolist() == codes.tolist()
    with pytest.raises(DataError, match=r"holds a value that is no class; found 2; expected 0 \(a\), 1 \(b\)"):
        read_mask(tmp_path / "mask.png", ("a", "b"), Declaration())


def test_the_no_data_of_a_mask_is_no_class(tmp_path):
    profile = {"driver": "GTiff", "count": 1, "height": 2, "width": 2, "dtype": "int16", "nodata": -1}
    with rasterio.open(tmp_path / "m.tif", "w", **profile) as file:
        file.write(np.array([[[-1, 0], [1, 255]]], np.int16))
    assert read_mask(tmp_path / "m.tif", ("a", "b"), Declaration()).tolist() == [[255, 0], [1, 255]]


def test_masks_that_do_not_fit_are_refused(squares, tmp_path):
    (tmp_path / "i").mkdir()
    Picture.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "i" / "a.png")
    Picture.fromarray(np.zeros((16, 32), np.uint8)).save(tmp_path / "small.png")
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(SQUARE | {"classes": ["rest", "square"]}))
    for label, message in (
        ("small.png", "another size than i/a.png; found 16 x 32; expected 32 x 32"),
        ("none.png", "there is no target raster"),
        ("i/a.png", "3 channels"),
        ("", "has no target raster"),
        ("../secret.png", "outside its folder"),
    ):
        (tmp_path / "manifest.csv").write_text(f"path,label,split\ni/a.png,{label},train\n")
        with pytest.raises(DataError, match=message):
            with_masks(open_dataset(tmp_path), tmp_path)[0]


def test_a_mask_moves_with_its_image(squares):
    dataset = Resized(with_masks(open_dataset(squares, split="train"), squares), 32)
    batch = collate([dataset[i] for i in range(8)], seeds=range(8))
    for transform in (RandomResizedCrop(size=32, scale=(0.3, 0.6)), Flip(), QuarterTurn()):
        moved = transform(batch, SampleRandom(batch.seeds))
        bright = moved["optical"].pixels[:, 0].float().mean(1) > 105
        codes = moved[TARGET].pixels[:, 0, 0]
        assert set(codes.unique().tolist()) <= {0, 1, 255}
        known = codes != 255
        assert ((codes == 1) == bright)[known].float().mean() > 0.97  # bicubic edges lie between
        assert not torch.equal(codes.float(), batch[TARGET].pixels[:, 0, 0].float())


@given(st.integers(0, 1000), st.integers(2, 4))
def test_miou_and_loss_are_those_of_scikit_learn_and_torch_over_labelled_pixels(seed, classes):
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(3, classes, 6, 5, generator=draw)
    labels = torch.randint(0, classes, (3, 6, 5), generator=draw)
    labels[torch.rand(3, 6, 5, generator=draw) < 0.3] = 255
    known, said = labels != 255, scores.argmax(1)
    table = confusion(scores, labels)
    found = figures("segmentation", judge("segmentation", table, table))
    truth, given_classes = labels[known].numpy(), said[known].numpy()
    present = np.union1d(truth, given_classes)
    assert found["miou"] == pytest.approx(jaccard_score(truth, given_classes, average="macro", labels=present))
    assert found["pixel_accuracy"] == pytest.approx((truth == given_classes).mean())
    assert table.sum() == known.sum()
    own = F.cross_entropy(scores.permute(0, 2, 3, 1)[known], labels[known], label_smoothing=0.1)
    assert float(loss("segmentation", scores, labels, 0.1)) == pytest.approx(float(own), rel=1e-5)
    # A bootstrap draw counts images: one image twice and the others not is that image alone.
    value = METRICS["miou"].of(Answers(table))(np.array([[2.0, 0, 0]]))[0]
    assert value == pytest.approx(METRICS["miou"].value(Answers(table[:1])))


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2, 3])])
def test_a_batch_without_a_label_has_no_loss(weights):
    assert float(loss("segmentation", torch.randn(2, 3, 4, 4), torch.full((2, 4, 4), 255), 0.1, weights)) == 0


def test_balanced_weights_are_those_of_scikit_learn_and_torch_takes_them_alike(squares):
    dataset = with_masks(open_dataset(squares, split="train"), squares)
    codes = torch.cat([dataset[i].images[TARGET].pixels.flatten() for i in range(len(dataset))])
    weights = class_weights(dataset, 3)
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=codes[codes != 255].numpy())
    assert weights.tolist() == pytest.approx([*expected, 0.0])  # the third class is absent
    scores, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 2, (2, 8, 8))
    own = F.cross_entropy(scores, labels, weight=weights)
    assert float(loss("segmentation", scores, labels, 0.0, weights)) == pytest.approx(float(own), rel=1e-5)


def test_a_cell_has_the_most_frequent_class_of_its_labelled_pixels():
    labels = torch.tensor([[[0, 0, 1, 255], [0, 1, 1, 255], [2, 2, 255, 255], [2, 1, 255, 1]]])
    assert cell_classes(labels, 3, (2, 2)).tolist() == [[[0, 1], [2, 255]]]


@pytest.mark.parametrize(("mode", "balanced"), [("frozen", False), ("full", True), ("lora", False)])
def test_each_mode_finds_the_squares(squares, model, tmp_path, mode, balanced):
    done = finetune(settings(model, squares, mode=mode, balanced=balanced), tmp_path / "run")
    assert done.task == "segmentation"
    assert done.val["miou"] >= done.start["miou"]
    assert done.val["miou"] > 0.6  # the larger class everywhere gives 0.45
    assert done.absent == ()
    loaded = load_predictor(tmp_path / "run")
    assert (loaded.card.kind, loaded.predictor.classes) == ("pixel", ("rest", "square"))
    tested = score_test(tmp_path / "run", squares)
    assert 0.6 < tested["scores"]["miou"]["ci95"][0] <= tested["scores"]["miou"]["value"]
    assert json.loads((tmp_path / "run" / "test.json").read_text())["n"] == 6


def test_a_stopped_run_goes_on_to_the_same_weights(squares, model, tmp_path, monkeypatch):
    whole = finetune(settings(model, squares), tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(row):
        if row["images"] >= 60 and "loss/total" in row:
            raise Stop

    with pytest.raises(Stop):
        finetune(settings(model, squares), tmp_path / "stopped", on_row=stop)
    again = finetune(settings(model, squares), tmp_path / "stopped")
    assert again.val == whole.val
    one, other = (load_predictor(tmp_path / n).predictor.state_dict() for n in ("whole", "stopped"))
    assert all(torch.equal(one[k], other[k]) for k in one)


def test_mixing_of_images_is_refused_for_pixels(squares, model, tmp_path):
    with pytest.raises(RecipeError, match="mixup and cutmix mix the labels of whole images"):
        finetune(settings(model, squares, cutmix=0.5), tmp_path / "run")


def test_cleared_forest_is_found_in_real_images(shared_data, model, tmp_path):
    data = shared_data / "amazon_deforestation_s2rgb"
    done = finetune(settings(model, data, mode="frozen", size=128, batch_size=4), tmp_path / "run")
    dataset = Resized(with_masks(open_dataset(data, split="val"), data), 128)
    counts = torch.bincount(torch.cat([dataset[i].images[TARGET].pixels.flatten() for i in range(len(dataset))]).long())
    majority = float(counts[:2].max() / counts[:2].sum())
    assert done.val["pixel_accuracy"] > majority + 0.1
    assert done.val["miou"] > majority / 2 + 0.1  # of the larger class everywhere
