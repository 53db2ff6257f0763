"""The released Scale-MAE: ViT-L/16, pretrained on fMoW RGB for 800 epochs."""

from __future__ import annotations

from ecotone.encoders import Readout
from ecotone.inputs import InputSpec, RoleSpec, ZScore
from ecotone.methods.released import Released

# ImageNet's statistics of 8-bit values, whatever the data: the authors found fMoW's own to work a little less well.
IMAGENET = ZScore(
    mean=tuple(255 * m for m in (0.485, 0.456, 0.406)),
    std=tuple(255 * s for s in (0.229, 0.224, 0.225)),
)

RELEASED = Released(
    method="scale-mae",
    encoder_kind="vit",
    # Positions were scaled by 2.5 x crop ratio, at twice the pitch of the target, in training: 2.2 to 5.0, and never
    # by the true GSD. The authors evaluate with a factor of 1.0 for every image.
    encoder={"patch": 16, "positions": "gsd", "reference_gsd": 1.0, "evaluation_scale": 1.0},
    readout=Readout(pooling="class"),
    # The loss is the paper's (L1 on the high band). Which band configuration and which loss the released file was
    # trained with is not published: its `args` may tell and are kept in the provenance of an imported model.
    options={
        "high_loss": "l1",
        "low_target": "input",
        "sum_channels": True,
        "filter": "bilinear-aligned",
    },
    input=InputSpec(
        roles={
            "optical": RoleSpec(sensor="rgb", bands=("R", "G", "B"), unit="uint8", normaliser=IMAGENET),
        },
        size_multiple=16,
        min_size=16,
    ),
    image_size=224,
    licence="CC-BY-NC-4.0",
    citation=(
        "Reed, Gupta, Li et al., Scale-MAE: A Scale-Aware Masked Autoencoder for Multiscale Geospatial "
        "Representation Learning, ICCV 2023"
    ),
)
