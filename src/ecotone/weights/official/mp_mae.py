"""MP-MAE's released weights: MinkowskiEngine's kernels made dense, one decoder under its twelve names."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from ecotone.data.catalog.mmearth_layout import LAYERS
from ecotone.errors import CheckpointError
from ecotone.methods.released.mp_mae import BANDS, RGB_BANDS, modality
from ecotone.weights.official.base import Converted, named, numbered, reasons, shape

ENCODER = ("initial_conv.", "stem.", "stages.", "downsample_layers.")
DECODER = ("mask_token", "proj.", "decoders.", "heads.", "pooled_norm.", "log_variances")
UNET = ("upsample_layers.", "initial_conv_upsample.")
IGNORED = {
    ("head.", "norm."): "head of a fine-tuned classifier",
    UNET: "decoder of a fine-tuned U-Net",
}
RENAMED = {"pred_dict.": "heads.", "layer_norm_tmp.": "pooled_norm.", "loss_fn.log_vars": "log_variances"}


def convert(state: Mapping[str, Tensor]) -> Converted:
    """The pretraining model, the classifier or the encoder of the U-Net, at any patch size.

    Raises:
        CheckpointError: These are not such weights, or the tasks' decoders, which are one module, differ.
    """
    ours = _renamed(state)
    encoder, decoder, ignored = named(ours, ENCODER), named(ours, DECODER), reasons(ours, IGNORED)
    step = shape(encoder, "stem.0.weight", 4)[-1]
    return Converted(
        encoder=encoder,
        decoder=decoder,
        encoder_options={
            "patch": 8 * step,
            "dims": [shape(encoder, f"stages.{i}.0.norm.weight", 1)[0] for i in range(4)],
            "depths": [numbered(encoder, f"stages.{i}.") for i in range(4)],
            "stem": "initial-conv" if "initial_conv.0.weight" in encoder else "patch",
        },
        method_options=_decoder_options(decoder, 8 * step) if decoder else {},
        ignored=ignored,
        unexpected=tuple(sorted(ours.keys() - encoder.keys() - decoder.keys() - ignored.keys())),
    )


def unet_head(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The decoder of the authors' U-Net, for ``ConvNeXtUNet``; its ``norm`` is the classifier's, and never used."""
    return named(state, (*UNET, "head."))


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    depthwise_stem = "encoder.initial_conv.0.kernel" in state
    ours: dict[str, Tensor] = {}
    for name, tensor in state.items():
        new, value = _name(name), _dense(name, tensor, depthwise_stem)
        if new in ours and not torch.equal(ours[new], value):
            raise CheckpointError(f"the decoders of all tasks are one module, but {name} differs from the others")
        ours[new] = value
    return ours


def _name(name: str) -> str:
    if name.startswith("decoder_dict."):
        return "decoders.shared." + name.split(".", 2)[2]
    if name.startswith("encoder."):
        name = name.removeprefix("encoder.").replace(".kernel", ".weight")
        return name.replace(".ln.", ".").replace(".linear.", ".")
    for theirs, own in RENAMED.items():
        if name.startswith(theirs):
            return name.replace(theirs, own, 1)
    return name


def _dense(name: str, x: Tensor, depthwise_stem: bool) -> Tensor:
    """A tensor in our layout."""
    if name.endswith(".kernel"):
        if x.ndim == 2:  # (K*K, C), or (I, O) of a 1 x 1 convolution that is not depthwise
            x = x[:, None] if ".dwconv." in name or depthwise_stem else x[None]
        # Minkowski kernels are (K*K, I, O) with the row of the kernel fastest.
        side = isqrt(len(x))
        return x.view(side, side, *x.shape[1:]).permute(3, 2, 1, 0).contiguous()
    if name == "mask_token":
        return x.view(1, 1, -1)
    if name.endswith(".bias") or ".grn." in name:
        return x.flatten()
    if name.startswith(("proj.", "pred_dict.")):  # 1 x 1 convolutions there, linear layers here
        return x.flatten(1)
    return x


def _decoder_options(decoder: Mapping[str, Tensor], patch: int) -> dict[str, Any]:
    names = [n.split(".")[1] for n in decoder if n.startswith("heads.") and n.endswith(".weight")]
    names = sorted(names, key=list(LAYERS).index) if set(names) <= set(LAYERS) else []  # the order of the losses
    targets = []
    for name in names:
        colour = name == "sentinel2" and len(decoder[f"heads.{name}.weight"]) == patch**2 * len(RGB_BANDS)
        targets.append(modality(name, RGB_BANDS if colour else BANDS).model_dump(mode="json"))
    return {
        "targets": targets,
        "decoder_width": shape(decoder, "proj.weight", 2)[0],
        "decoder_depth": numbered(decoder, "decoders.shared."),
        "shared_decoder": True,
        "aggregation": "uncertainty" if "log_variances" in decoder else "unweighted",
    }
