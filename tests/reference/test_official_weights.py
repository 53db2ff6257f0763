"""Official weights through the importer: every published layout fits whole, and small ones compute what they should."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from math import isqrt, prod
from pathlib import Path
from typing import Any

import pytest
import torch
from roots import ROOT, case_id, close
from safetensors import safe_open
from safetensors.torch import load_file

from ecotone.errors import CheckpointError
from ecotone.inputs import ZScore, ZScoreByLevel
from ecotone.samples import Batch, ImageBatch
from ecotone.sensors import unit
from ecotone.weights import import_official, load_model, verify
from ecotone.weights.importing import Imported, adopt
from ecotone.weights.official import OfficialCheckpoint

Shapes = dict[str, tuple[int, ...]]


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def layouts() -> Iterator[Any]:
    """Method and key shapes of every published layout that this root lists."""
    for path in sorted((ROOT / "scalemae").glob("keys_*.json")):
        for name, keys in read(path).items():
            if isinstance(keys, dict) and not name.startswith("_"):
                shapes = {k: tuple(v[0]) for k, v in keys.items()}
                yield pytest.param("scale-mae", shapes, id=f"{case_id(path)}/{name}")
    for path in sorted((ROOT / "spectralgpt").glob("keys_*.json")):
        content = read(path)
        for name, model in ({"": content} if "keys" in content else content).items():
            shapes = {k: tuple(v) for k, v in model["keys"].items()}
            yield pytest.param("spectral-gpt", shapes, id=f"{case_id(path)}/{name}")
    for path in sorted((ROOT / "mmearth").glob("keys/*.json")):
        content = read(path)
        if all(isinstance(v, list) for v in content.values()):
            yield pytest.param("mp-mae", {k: tuple(v) for k, v in content.items()}, id=f"mmearth/{path.stem}")


def state_of(shapes: Shapes, method: str) -> dict[str, torch.Tensor]:
    """Tensors of these shapes; without memory, but for MP-MAE, whose repeated decoders are compared."""
    device = "cpu" if method == "mp-mae" else "meta"
    made: dict[tuple[int, ...], torch.Tensor] = {}
    return {k: made.setdefault(s, torch.zeros(s, device=device)) for k, s in shapes.items()}


def adopted(shapes: Shapes, method: str) -> Imported:
    return adopt(OfficialCheckpoint(Path("x.pth"), "", state_of(shapes, method)), method)


def numbers(shapes: Any) -> int:
    return sum(prod(s) for s in shapes)


@pytest.mark.parametrize(("method", "shapes"), layouts())
def test_every_published_layout_is_imported_whole_or_refused_for_what_it_lacks(method, shapes):
    joint = method == "spectral-gpt" and "pos_embed" in shapes  # the authors' classifiers
    if joint or "fc_norm.weight" in shapes:  # Scale-MAE fine-tuned with mean pooling has no norm of tokens
        with pytest.raises(CheckpointError, match="joint table of positions" if joint else r"2 differ, such as norm\."):
            adopted(shapes, method)
        return
    found = adopted(shapes, method)
    report = found.report
    if "pos_embed_spatial" in shapes:
        assert found.image_size == shapes["patch_embed.proj.weight"][-1] * isqrt(shapes["pos_embed_spatial"][1])
    assert report.encoder.filled == report.encoder.expected
    once = {k: s for k, s in shapes.items() if "decoder_dict." not in k or ".sentinel2." in k}  # one module, many names
    taken = found.encoder.state_dict() if found.method is None else found.method.state_dict()
    left_out = [s for k, s in once.items() if k in report.ignored]
    assert numbers(once.values()) == numbers(v.shape for v in taken.values()) + numbers(left_out)
    pretraining = any(k.startswith(("decoder_embed.", "encoder.")) for k in shapes)
    assert (report.decoder is not None) == pretraining
    assert not report.decoder or report.decoder.filled == report.decoder.expected


def imported(state, method, folder, **heads):
    """The small official model as a file of the authors' layout, imported, verified and loaded."""
    content = {"model": {f"module.{k}": v for k, v in state.items()}, "epoch": 199, "args": Namespace(out=Path("/x"))}
    torch.save(content, folder / "x.pth")
    import_official(folder / "x.pth", method, folder / "model", **heads)
    verify(folder / "model", folder / "x.pth")
    return load_model(folder / "model").encoder


def raw_batch(encoder, normalised):
    """Raw imagery that the encoder's spec turns into these normalised pixels."""
    role, spec = next(iter(encoder.spec.roles.items()))
    normaliser, level = spec.normaliser, None
    if isinstance(normaliser, ZScoreByLevel):
        level, normaliser = next(iter(normaliser.levels.items()))
    pixels = normalised.double()
    if isinstance(normaliser, ZScore):
        mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (normaliser.mean, normaliser.std))
        pixels = pixels * std + mean
    image = ImageBatch.of(pixels, bands=spec.bands, unit=unit(spec.unit), level=level, sensor=spec.sensor)
    return Batch({role: image}, keys=("",) * len(pixels), seeds=torch.zeros(len(pixels), dtype=torch.int64))


def have(folder, *files):
    return all((ROOT / folder / f).exists() for f in files)


@pytest.mark.skipif(
    not have("scalemae", "golden.json", "encoder_eval.safetensors", "state_default.safetensors"),
    reason=f"no golden.json, encoder_eval and state_default in {ROOT / 'scalemae'}",
)
def test_an_imported_scale_mae_encodes_as_its_authors_evaluate(tmp_path):
    config = read(ROOT / "scalemae" / "golden.json")["config"]
    golden = load_file(ROOT / "scalemae" / "encoder_eval.safetensors")
    state = load_file(ROOT / "scalemae" / "state_default.safetensors")
    heads = {"heads": config["num_heads"], "decoder_heads": config["decoder_num_heads"]}
    encoder = imported(state, "scale-mae", tmp_path, **heads)
    size = config["img_size"]
    with torch.inference_mode():  # the images have no GSD: the factor is 1 for all
        features = encoder(raw_batch(encoder, golden[f"size{size}.imgs"]))
    close(features.pooled, golden[f"size{size}.res1.cls"])


def spectral_cases():
    folder = ROOT / "spectralgpt"
    found = [p for p in sorted(folder.glob("*.json")) if p.with_suffix(".safetensors").exists()]
    return [pytest.param(p, id=case_id(p)) for p in found if expected_of(p)]


def expected_of(path):
    """What a case says of encoded images, and can be had from imported weights."""
    with safe_open(path.with_suffix(".safetensors"), "pt") as file:
        names = set(file.keys())
    wanted = {"out.vit.dense_concat"}
    if not read(path)["config"].get("cls_embed"):  # the authors' classifiers drop what is there as a class token
        wanted.add("out.vit.pooled")
    return wanted & names if "out.images" in names else set()


@pytest.mark.parametrize("path", spectral_cases())
def test_an_imported_spectral_gpt_encodes_as_its_authors_evaluate(path, tmp_path):
    config, tensors = read(path)["config"], load_file(path.with_suffix(".safetensors"))
    state = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    heads = {"heads": config["num_heads"], "decoder_heads": config["decoder_num_heads"]}
    encoder = imported(state, "spectral-gpt", tmp_path, **heads)
    with torch.inference_mode():
        features = encoder(raw_batch(encoder, tensors["out.images"]))
    found = {"out.vit.pooled": features.pooled, "out.vit.dense_concat": features.maps[-1]}
    for name in expected_of(path):
        close(found[name], tensors[name], atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(
    not have("mmearth", "config.json", "tensors.safetensors", "state_minkowski.safetensors"),
    reason=f"no config.json, tensors and state_minkowski in {ROOT / 'mmearth'}",
)
def test_an_imported_mp_mae_encodes_as_the_authors_padded_dense_model(tmp_path):
    golden = load_file(ROOT / "mmearth" / "tensors.safetensors")
    encoder = imported(load_file(ROOT / "mmearth" / "state_minkowski.safetensors"), "mp-mae", tmp_path)
    with torch.inference_mode():
        features = encoder(raw_batch(encoder, golden["input.sentinel2"]))
    close(features.maps[-1], golden["unet.stage3"], atol=2e-4, rtol=1e-4)
