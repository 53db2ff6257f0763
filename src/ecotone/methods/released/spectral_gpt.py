"""The released SpectralGPT (fMoW-Sentinel, 96 px) and SpectralGPT+ (then BigEarthNet, 128 px), both ViT-B/8."""

from __future__ import annotations

from dataclasses import replace

from ecotone.encoders import Readout
from ecotone.inputs import InputSpec, MinMaxPerImage, RoleSpec
from ecotone.methods.released import Released

BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")


def _input(sensor: str) -> InputSpec:
    # Both were pretrained on images stretched band by band to [0, 1]. Fine-tuning by the authors uses three other
    # normalisations; none of them is what the released weights have seen.
    role = RoleSpec(sensor=sensor, bands=BANDS, unit="reflectance x 10000", normaliser=MinMaxPerImage())
    return InputSpec(roles={"optical": role}, size_multiple=8, min_size=8)


RELEASED = Released(
    method="spectral-gpt",
    encoder_kind="spectral-vit",
    # The authors' classifiers normalise the mean and slice off a class token that is not there; their dense heads read
    # the last block without the final norm.
    encoder={"patch": 8, "group": 3, "final_norm": "pooled", "drop_first_token": True, "image_size": 96},
    readout=Readout(pooling="mean"),
    # The mask ratio comes from the command line (0.90); the factory's is ignored. norm_pixels cannot be switched on.
    options={"mask_ratio": 0.9, "norm_pixels": False, "restore_pixels": False},
    input=_input("sentinel2-l1c"),
    image_size=96,
    licence="not stated with the weights; the code is GPL-3.0",
    citation="Hong et al., SpectralGPT: Spectral Remote Sensing Foundation Model, IEEE TPAMI 46(8), 2024",
)

# The second stage starts from the first, with new random positions on the grid, and has seen surface reflectance.
RELEASED_PLUS = replace(
    RELEASED,
    encoder={**RELEASED.encoder, "image_size": 128},
    input=_input("sentinel2-l2a"),
    image_size=128,
)
