"""Exported models compute what the model does, or are not written."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors import safe_open

from ecotone.encoders import Readout, build_encoder
from ecotone.errors import CheckpointError, RecipeError
from ecotone.inputs import InputSpec, MinMaxPerImage, RoleSpec, ZScore, ZScoreByLevel
from ecotone.weights import export, load_model, save_model
from ecotone.weights.exporting import compare
from ecotone.weights.probing import synthetic_batch

L1C, L2A = (ZScore(mean=(m,) * 3, std=(400.0,) * 3) for m in (1500.0, 900.0))
MODELS = {
    "vit": (L2A, {"patch": 8, "width": 32, "depth": 1, "heads": 2, "positions": "gsd"}, "mean-std"),
    "spectral-vit": (MinMaxPerImage(), {"patch": 8, "width": 32, "depth": 1, "heads": 2, "image_size": 16}, "mean"),
    "convnext": (ZScoreByLevel(levels={"L1C": L1C, "L2A": L2A}), {"dims": (8,) * 4, "depths": (1,) * 4}, "mean"),
}


@pytest.fixture
def saved(tmp_path):
    def saved(kind):
        normaliser, config, pooling = MODELS[kind]
        role = RoleSpec(
            sensor="sentinel2-l2a",
            bands=("B4", "B3", "B2"),
            unit="reflectance x 10000",
            normaliser=normaliser,
            gsd=(5.0, 20.0) if kind == "vit" else None,
            gsd_required=kind == "vit",
        )
        spec = InputSpec(roles={"optical": role}, size_multiple=8)
        torch.manual_seed(1)
        encoder = build_encoder(kind, spec, Readout(pooling=pooling), config)
        return save_model(encoder, tmp_path / kind, name=kind, image_size=16)

    return saved


@pytest.mark.parametrize(
    "kind", ["vit", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("spectral-vit", "convnext"))]
)
def test_an_onnx_graph_takes_raw_pixels_of_any_number_of_images(kind, saved, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    level = "L1C" if kind == "convnext" else None
    made = export(saved(kind), tmp_path / "x.onnx", "onnx", level=level)
    assert made.largest_difference <= 1e-4 * made.largest_feature
    session = onnxruntime.InferenceSession(str(tmp_path / "x.onnx"), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == list(made.inputs)
    encoder = load_model(tmp_path / kind).encoder
    for count in (1, 5):
        batch = synthetic_batch(encoder.spec, 16, count, level=level, seed=7)
        image = batch["optical"]
        given = {"pixels": image.pixels[:, 0].numpy(), "gsd": image.gsd.numpy()}
        pooled, map_ = session.run(None, {n: given[n] for n in made.inputs})
        with torch.inference_mode():
            features = encoder(batch)
        torch.testing.assert_close(torch.from_numpy(pooled), features.pooled, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(torch.from_numpy(map_), features.maps[-1], atol=2e-5, rtol=1e-4)
    assert [p.name for p in tmp_path.glob("*.onnx*")] == ["x.onnx"]

    with torch.no_grad():
        encoder.get_parameter(next(n for n, _ in encoder.named_parameters() if "norm" in n))[0] += 0.1
    with pytest.raises(CheckpointError, match="does not compute what the model does; found features that differ by"):
        compare(encoder, tmp_path / "x.onnx", [batch])


def test_one_safetensors_file_holds_weights_and_card(saved, tmp_path):
    folder = saved("vit")
    export(folder, tmp_path / "x.safetensors", "safetensors")
    model = load_model(folder)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert json.loads(file.metadata()["ecotone"]) == model.card.model_dump(mode="json")
        state = model.encoder.state_dict()
        assert set(file.keys()) == state.keys()
        assert all(torch.equal(file.get_tensor(k), v) for k, v in state.items())


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_what_installs_it(name, saved, tmp_path, monkeypatch):
    monkeypatch.setattr("ecotone.weights.exporting.find_spec", lambda n: None if n == name else sys.modules["sys"])
    with pytest.raises(RecipeError, match=rf'needs the packages {name}\. Install them: pip install "ecotone\[onnx\]"'):
        export(saved("vit"), tmp_path / "x.onnx", "onnx")


def test_a_level_without_statistics_and_an_unknown_format_are_refused(saved, tmp_path):
    pytest.importorskip("onnxscript")
    with pytest.raises(RecipeError, match="no statistics of this level; found L3; expected L1C or L2A"):
        export(saved("convnext"), tmp_path / "x.onnx", "onnx", level="L3")
    with pytest.raises(RecipeError, match="unknown format; found pt; expected safetensors or onnx"):
        export(saved("vit"), tmp_path / "x.pt", "pt")
