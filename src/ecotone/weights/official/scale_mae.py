"""Scale-MAE's released weights: our names are theirs, without the tables that no forward pass reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ecotone.weights.official.base import Converted, named, numbered, reasons, shape

ENCODER = ("cls_token", "patch_embed.proj.", "blocks.", "norm.")
DECODER = ("mask_token", "decoder_embed.", "decoder_blocks.", "decoder_norm.", "fpn.", "fcn.", "fcn_high.", "fcn_low.")
IGNORED = {
    ("pos_embed", "decoder_pos_embed"): "no forward pass reads it: positions are computed from the GSD",
    ("mask_token_decoder",): "no forward pass reads it",
    ("fc_norm.", "head."): "head of a fine-tuned classifier",
}


def convert(state: Mapping[str, Tensor]) -> Converted:
    """The pretraining model with either neck and separate or shared heads, or the fine-tuned ViT.

    Raises:
        CheckpointError: These are not such weights.
    """
    width, _, patch, _ = shape(state, "patch_embed.proj.weight", 4)
    encoder, decoder, ignored = named(state, ENCODER), named(state, DECODER), reasons(state, IGNORED)
    return Converted(
        encoder=encoder,
        decoder=decoder,
        encoder_options={"patch": patch, "width": width, "depth": numbered(state, "blocks.")},
        method_options=_decoder_options(state, patch) if decoder else {},
        ignored=ignored,
        unexpected=tuple(sorted(state.keys() - encoder.keys() - decoder.keys() - ignored.keys())),
    )


def _decoder_options(state: Mapping[str, Tensor], patch: int) -> dict[str, Any]:
    shared = bool(named(state, ("fcn.",)))
    head = "fcn." if shared else "fcn_high."
    # The neck enlarges four times, the head by the strides of its two transposed convolutions.
    pixels = 4 * shape(state, f"{head}pred.1.weight", 4)[-1] * shape(state, f"{head}pred.7.weight", 4)[-1]
    return {
        "target_ratio": pixels // patch,
        "decoder_width": shape(state, "decoder_embed.weight", 2)[0],
        "decoder_depth": numbered(state, "decoder_blocks."),
        "head_width": shape(state, f"{head}proj.weight", 4)[0],
        "head_layers": numbered(state, f"{head}conv_blocks."),
        "shared_head": shared,
        "progressive": "fpn.fpn1.2.weight" in state,
    }
