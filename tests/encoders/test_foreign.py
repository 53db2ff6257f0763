"""A plain torch module on the same terms as all other encoders."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from ecotone.encoders import Foreign, Readout, python_encoder
from ecotone.errors import CheckpointError, InputError
from ecotone.inputs import InputSpec, RoleSpec, ZScore
from ecotone.samples import Image, Sample, collate
from ecotone.sensors import unit

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/evaluate-a-foreign-encoder.md"
SPEC = InputSpec(
    roles={
        "optical": RoleSpec(
            sensor="rgb", bands=("R", "G", "B"), unit="uint8", normaliser=ZScore(mean=(100.0,) * 3, std=(50.0,) * 3)
        )
    }
)


def batch(size: int = 8, bands: tuple[str, ...] = ("B", "G", "R")):
    pixels = torch.arange(len(bands) * size * size, dtype=torch.uint8).reshape(1, len(bands), size, size)
    return collate([Sample({"optical": Image(pixels, bands, unit("uint8"), gsd=10.0, sensor="rgb")}, key="a")])


def plain(stride: int = 1) -> nn.Module:
    return nn.Conv2d(3, 5, stride, stride)


def pooled(*_: object) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_the_module_sees_normalised_pixels_with_the_bands_in_order():
    encoder = Foreign(SPEC, build=nn.Identity, width=3)
    raw = batch()["optical"].pixels[:, 0].flip(1).float()
    assert encoder(batch()).maps[0].equal((raw - 100) / 50)


def test_maps_are_pooled_by_the_readout_and_vectors_are_left_as_they_are():
    encoder = Foreign(SPEC, Readout(pooling="mean-std"), build=partial(plain, 2), width=5)
    features = encoder(batch())
    flat = features.maps[0].flatten(2)
    assert features.pooled.allclose(torch.cat([flat.mean(2), flat.std(2, correction=0)], 1))
    assert features.strides == [2]
    vectors = Foreign(SPEC, build=pooled, width=5)
    prepared = SPEC.prepare(batch())["optical"].pixels[:, 0]
    assert vectors(batch()).pooled.allclose(vectors.module(prepared))


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (lambda: Foreign(SPEC, build=plain, width=7), r"\(1, 5, 8, 8\).*expected a tensor \(N, 7\)"),
        (lambda: Foreign(SPEC, build=lambda: nn.Flatten(0), width=5), "something else than was said"),
        (lambda: Foreign(SPEC, Readout(layers=(0,)), build=plain, width=5), "one layer"),
        (lambda: Foreign(SPEC, Readout(pooling="class"), build=plain, width=5), "no class token"),
    ],
)
def test_what_the_module_cannot_give_is_said(encoder, message):
    with pytest.raises(InputError, match=message):
        encoder()(batch())


def test_a_missing_band_is_refused_before_the_module_sees_anything():
    encoder = Foreign(SPEC, build=plain, width=5)
    encoder.module.register_forward_pre_hook(lambda *_: pytest.fail("it saw the images"))
    with pytest.raises(InputError, match="lack"):
        encoder(batch(bands=("R", "G")))


def test_its_architecture_reads_the_same_in_every_process_and_builds_a_random_twin():
    encoder = Foreign(SPEC, build=partial(plain, 2), width=5)
    assert re.fullmatch(r".*\.plain \(2,\) \{\} [0-9a-f]{64}", repr(encoder.config()["build"]))
    twin = Foreign(SPEC, **encoder.config())
    assert str(twin.config()) == str(encoder.config()) and twin.module.weight.shape == (5, 3, 2, 2)
    assert not twin.module.weight.equal(encoder.module.weight)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("python:no_such_module:f", "No module named"),
        ("python:json:no_such", "no attribute"),
        ("python:json", "cannot be imported|can be imported"),
        ("python:builtins:list", "gives no encoder; found list"),
    ],
)
def test_names_that_give_no_encoder_are_refused(name, message):
    with pytest.raises(CheckpointError, match=message):
        python_encoder(name)


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """The module that the page shows, ready to be imported, with weights."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "my_encoders.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import my_encoders  # pyright: ignore[reportMissingImports]

    torch.save(my_encoders.build().state_dict(), "small.pth")
    yield code
    sys.modules.pop("my_encoders")


def test_the_code_of_the_page_runs_and_its_adapter_has_ten_lines(shown):
    encoder = python_encoder("python:my_encoders:small")
    assert encoder(batch(size=16)).pooled.shape == (1, 64)
    adapter = shown[shown.index("def small") :].strip().splitlines()
    assert len(adapter) <= 10
