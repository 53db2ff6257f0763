"""SpectralGPT's released weights: q, k and v in one matrix, and tables of positions under their true name."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ecotone.errors import CheckpointError
from ecotone.weights.official.base import Converted, named, numbered, reasons, shape, square

ENCODER = (
    "cls_token",
    "pos_embed_class",
    "pos_embed_spatial",
    "pos_embed_spectral",
    "patch_embed.proj.",
    "blocks.",
    "norm.",
)
DECODER = (
    "mask_token",
    "decoder_cls_token",
    "decoder_pos_embed_class",
    "decoder_pos_embed_spatial",
    "decoder_pos_embed_spectral",
    "decoder_embed.",
    "decoder_blocks.",
    "decoder_norm.",
    "decoder_pred.",
)
IGNORED = {
    ("head.",): "head of a fine-tuned classifier",
    ("conv0.", "conv1.", "conv2.", "conv3.", "fc.", "decoder.", "cls_seg."): "dense head of a fine-tuned model",
}


def convert(state: Mapping[str, Tensor]) -> Converted:
    """The pretraining model at any size, or the encoder of a fine-tuned model (OSCD, SegMunich).

    Raises:
        CheckpointError: These are not such weights.
    """
    state = _renamed(state)
    width, _, group, patch, _ = shape(state, "patch_embed.proj.weight", 5)
    if "pos_embed" in state:
        raise CheckpointError(
            "this classifier has a joint table of positions, which cannot be split into spatial and spectral ones",
            found=f"pos_embed {tuple(state['pos_embed'].shape)}",
            expected="pos_embed_spatial and pos_embed_temporal, as the pretraining model has",
            mend="Import the pretrained file that it was fine-tuned from.",
        )
    state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"].squeeze(1)  # Conv3d over one channel
    encoder, decoder, ignored = named(state, ENCODER), named(state, DECODER), reasons(state, IGNORED)
    image_size = patch * square(state, "pos_embed_spatial")
    return Converted(
        encoder=encoder,
        decoder=decoder,
        encoder_options={
            "patch": patch,
            "group": group,
            "image_size": image_size,
            "width": width,
            "depth": numbered(state, "blocks."),
            "class_token": "cls_token" in state,
        },
        method_options={
            "decoder_width": shape(state, "decoder_embed.weight", 2)[0],
            "decoder_depth": numbered(state, "decoder_blocks."),
        }
        if decoder
        else {},
        image_size=image_size,
        ignored=ignored,
        unexpected=tuple(sorted(state.keys() - encoder.keys() - decoder.keys() - ignored.keys())),
    )


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the authors call temporal is spectral; rows of ``attn.qkv`` are those of q, then k, then v."""
    out = {name.replace("pos_embed_temporal", "pos_embed_spectral"): tensor for name, tensor in state.items()}
    for name in [n for n in out if re.search(r"\.attn\.q\.(weight|bias)$", n)]:
        parts = [name.replace(".attn.q.", f".attn.{letter}.") for letter in "qkv"]
        if all(part in out for part in parts):
            out[name.replace(".attn.q.", ".attn.qkv.")] = torch.cat([out.pop(part) for part in parts])
    return out
