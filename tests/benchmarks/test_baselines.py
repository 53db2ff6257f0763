"""The literal renderings that speed is measured against compute what our methods compute."""

from __future__ import annotations

import pytest
import torch

from benchmarks.published import Setup, differences, mp_mae, scale_mae, spectral_gpt

TINY_VIT = {"width": 32, "depth": 1, "heads": 2}
TINY = {
    "scale-mae": lambda **options: scale_mae(
        2,
        side=96,
        encoder={**TINY_VIT, "patch": 16},
        **{"decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2, "head_width": 16, "low_pass": 7, **options},
    ),
    "spectral-gpt": lambda **options: spectral_gpt(
        2,
        encoder={**TINY_VIT, "image_size": 32},
        **{"decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2, **options},
    ),
    "mp-mae": lambda **options: mp_mae(
        2, encoder={"dims": (8, 8, 16, 16), "depths": (1, 1, 1, 1)}, **{"decoder_width": 16, **options}
    ),
}


def shaken(make, **options) -> Setup:
    """With other weights than the first ones: some of those are zero."""
    torch.manual_seed(0)
    setup = make(**options)
    with torch.no_grad():
        for parameter in setup.ours.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    setup.literal.adopt(setup.ours)
    return setup


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("scale-mae", {}),
        ("scale-mae", {"high_loss": "l2", "low_pass": 3, "head_layers": 1}),
        ("spectral-gpt", {}),
        ("spectral-gpt", {"mask_ratio": 0.5}),
        ("mp-mae", {}),
        ("mp-mae", {"mask_ratio": 0.3, "decoder_depth": 2}),
    ],
)
def test_literal_rendering_has_the_loss_and_the_gradients_of_ours(name, options):
    found = differences(shaken(TINY[name], **options))
    assert found["loss"] < 1e-5
    assert found["gradient"] < 1e-4


@pytest.mark.parametrize("name", TINY)
def test_a_changed_weight_is_noticed(name):
    setup = shaken(TINY[name])
    with torch.no_grad():
        setup.ours.mask_token += torch.randn_like(setup.ours.mask_token)
    assert differences(setup)["gradient"] > 1e-3


def test_a_parameter_without_a_partner_is_refused():
    setup = TINY["spectral-gpt"]()
    setup.ours.register_parameter("extra", torch.nn.Parameter(torch.zeros(1)))
    with pytest.raises(KeyError, match="extra"):
        setup.literal.adopt(setup.ours)
