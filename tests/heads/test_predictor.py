"""Predictors: sealed, strict on disk, an encoder to whoever wants one; their heads are fitted exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from ecotone.encoders import Readout, build_encoder
from ecotone.errors import CheckpointError, DataError, InputError
from ecotone.heads import LinearHead, PixelHead, Predictor
from ecotone.heads.linear_fits import linear_fits
from ecotone.heads.predictor import largest
from ecotone.heads.tasks import answers, figures, judge, targets
from ecotone.inputs import InputSpec, RoleSpec, ZScore
from ecotone.samples import Batch, ImageBatch
from ecotone.sensors import unit
from ecotone.weights import is_predictor, load_model, load_predictor, save_model, save_predictor


def encoder(seed: int = 0):
    torch.manual_seed(seed)
    role = RoleSpec(
        sensor="rgb", bands=("R", "G", "B"), unit="uint8", normaliser=ZScore(mean=(1.0,) * 3, std=(2.0,) * 3)
    )
    spec = InputSpec(roles={"optical": role}, size_multiple=8)
    return build_encoder("vit", spec, Readout(pooling="mean-std"), {"patch": 8, "width": 16, "depth": 1, "heads": 2})


def predictor(task: str = "classification", **options) -> Predictor:
    classes = () if task == "regression" else ("a", "b", "c")
    head = LinearHead(features=32, outputs=max(1, len(classes)))
    torch.nn.init.normal_(head.linear.weight)
    return Predictor(encoder(), head, task, classes, **options).eval()  # pyright: ignore[reportArgumentType]


def batch(bands=("R", "G", "B")) -> Batch:
    pixels = torch.rand(4, len(bands), 16, 16, generator=torch.Generator().manual_seed(1)) * 255
    image = ImageBatch.of(pixels, bands=bands, unit=unit("uint8"), gsd=3.0)
    return Batch(images={"optical": image}, keys=("",) * 4, seeds=torch.zeros(4, dtype=torch.int64))


def test_answers_of_each_task():
    probability = predictor()(batch())
    assert torch.allclose(probability.sum(1), torch.ones(4))
    said = predictor("multilabel", thresholds=(0.0, 0.5, 1.1))
    decided = said.decide(said(batch()))
    assert decided[:, 0].all()
    assert not decided[:, 2].any()
    plain, scaled = predictor("regression"), predictor("regression", scaling=(5.0, 2.0))
    assert torch.allclose(scaled(batch()), plain(batch()) * 2 + 5)


def test_segmentation_answers_for_every_pixel_and_comes_back_from_disk(tmp_path):
    made = Predictor(encoder(), PixelHead(features=16, outputs=2), "segmentation", ("no", "yes")).eval()
    torch.nn.init.normal_(made.head.linear.weight)  # pyright: ignore[reportAttributeAccessIssue]
    given = made(batch())
    assert made.dense
    assert given.shape == (4, 2, 16, 16)
    assert torch.allclose(given.sum(1), torch.ones(4, 16, 16))
    assert torch.equal(made.decide(given), given[:, 1] > given[:, 0])
    save_predictor(made, tmp_path, name="p", image_size=16)
    assert torch.equal(load_predictor(tmp_path).predictor(batch()), given)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_the_first_largest_value_decides(classes, seed):
    values = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, (2, classes, 3, 5)).astype(np.float32))
    assert torch.equal(largest(values).long(), values.argmax(1))
    assert torch.equal(largest(values[..., 0, 0]).long(), values[..., 0, 0].argmax(1))


def test_a_predictor_checks_its_input_as_its_encoder_does():
    with pytest.raises(InputError, match="lack 1 band"):
        predictor()(batch(("R", "G", "nir")))


@pytest.mark.parametrize(
    ("task", "options"),
    [("classification", {}), ("multilabel", {"thresholds": (0.2, 0.3, 0.4)}), ("regression", {"scaling": (5.0, 2.0)})],
)
def test_a_predictor_comes_back_as_it_was_and_its_folder_is_its_encoders(tmp_path, task, options):
    made = predictor(task, **options)
    folder = save_predictor(made, tmp_path / "run" / "model", name="p", image_size=16, provenance={"seed": 1})
    loaded = load_predictor(tmp_path / "run")
    assert torch.equal(loaded.predictor(batch()), made(batch()))
    found = loaded.predictor
    assert (found.task, found.classes, found.scaling) == (made.task, made.classes, made.scaling)
    assert found.thresholds == pytest.approx(made.thresholds)
    model = load_model(folder)
    assert torch.equal(model.encoder(batch()).pooled, made.encoder(batch()).pooled)
    assert (model.card.provenance, model.hash) == ({"seed": 1}, loaded.model.hash)
    assert is_predictor(tmp_path / "run")


def test_an_encoder_is_no_predictor(tmp_path):
    save_model(encoder(), tmp_path / "model", name="m", image_size=16)
    assert not is_predictor(tmp_path)
    with pytest.raises(CheckpointError, match=r"encoder without a head.*ecotone finetune"):
        load_predictor(tmp_path)


def test_a_head_of_another_encoder_is_refused(tmp_path):
    save_predictor(predictor(), tmp_path, name="p", image_size=16)
    save_model(encoder(seed=1), tmp_path, name="m", image_size=16)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not the file"):
        load_predictor(tmp_path)


def test_a_changed_or_misshapen_head_is_refused(tmp_path):
    save_predictor(predictor(), tmp_path, name="p", image_size=16)
    whole = (tmp_path / "head.safetensors").read_bytes()
    state = load_file(tmp_path / "head.safetensors")
    save_file({**state, "linear.bias": torch.ones(3)}, tmp_path / "head.safetensors")
    with pytest.raises(CheckpointError, match=r"head\.safetensors is not the file"):
        load_predictor(tmp_path)
    (tmp_path / "head.safetensors").write_bytes(whole)
    card = yaml.safe_load((tmp_path / "head.yaml").read_text())
    (tmp_path / "head.yaml").write_text(yaml.safe_dump({**card, "config": {"features": 32, "outputs": 2}}))
    with pytest.raises(CheckpointError, match="do not fit its card"):
        load_predictor(tmp_path)
    (tmp_path / "head.yaml").write_text(yaml.safe_dump({**card, "schema_version": 2}))
    with pytest.raises(CheckpointError, match="newer version"):
        load_predictor(tmp_path)


def test_classes_and_thresholds_must_agree():
    with pytest.raises(CheckpointError, match="found 2; expected 3"):
        predictor("multilabel", thresholds=(0.5, 0.5))
    with pytest.raises(DataError, match="no head for this task; found detection"):
        predictor("detection")


@pytest.fixture(scope="module")
def points():
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (90,), generator=draw)
    return torch.randn(90, 5, generator=draw) + F.one_hot(labels, 5) * 1.5, labels


def test_scores_of_the_linear_head_are_scikit_learns(points):
    x, labels = points
    for fit in linear_fits(x, labels, 4, strengths=(0.1, 10.0)):  # class 3 never occurs
        oracle = LogisticRegression(C=fit.settings["C"], max_iter=1000).fit(x.double().numpy(), labels.numpy())
        found = answers("classification", fit.scores(x))
        assert found[:, 3].max() < 1e-9
        assert torch.allclose(found[:, :3].double(), torch.from_numpy(oracle.predict_proba(x.numpy())), atol=5e-3)


def test_scores_of_two_classes_among_many_are_scikit_learns(points):
    x, labels = points
    two = torch.where(labels == 2, 0, labels) * 2  # 0 and 2
    (fit,) = linear_fits(x, two, 3, strengths=(1.0,))
    oracle = LogisticRegression(max_iter=1000).fit(x.double().numpy(), two.numpy())
    found = answers("classification", fit.scores(x)).double()
    assert torch.allclose(found[:, [0, 2]], torch.from_numpy(oracle.predict_proba(x.numpy())), atol=5e-3)


def test_figures_equal_their_oracles(points):
    given = torch.rand(90, 3, generator=torch.Generator().manual_seed(2))
    labels = points[1]
    found = figures("classification", judge("classification", given, labels))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, given.argmax(1), average="macro"))
    assert found["accuracy"] == pytest.approx(float((given.argmax(1) == labels).float().mean()))
    values = labels.double() + 0.5
    assert figures("regression", judge("regression", values[:, None], labels))["rmse"] == pytest.approx(0.5)


def test_the_losses_ask_for_labels():
    with pytest.raises(DataError, match="no label for classification"):
        targets("classification", None, 3)
