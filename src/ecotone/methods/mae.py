"""MAE (He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022).

An encoder sees a quarter of the patches; a light decoder predicts the pixels of the others.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ecotone.encoders import Features, ViT
from ecotone.methods.base import Method, Picture
from ecotone.nn.masking import TokenMask, random_mask
from ecotone.nn.patches import patchify, unpatchify
from ecotone.nn.positions import sincos_positions
from ecotone.nn.transformer import Block, init_linear
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch, ImageBatch


class MAE(Method):
    """Masked autoencoding of pixels.

    Args:
        encoder: A ViT.
        mask_ratio: Fraction of patches hidden from the encoder.
        decoder_width: Token length of the decoder.
        decoder_depth: Blocks of the decoder.
        decoder_heads: Heads of the decoder.
        norm_pixels: Predict each patch normalised by its own mean and variance (section 4.1 of the paper).
    """

    kind = "mae"
    encoder: ViT

    def __init__(
        self,
        encoder: ViT,
        *,
        mask_ratio: float = 0.75,
        decoder_width: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        norm_pixels: bool = True,
    ) -> None:
        super().__init__(encoder)
        self.mask_ratio, self.norm_pixels = mask_ratio, norm_pixels
        self.decoder_heads = decoder_heads
        values = encoder.patch**2 * len(encoder.spec.optical.bands)
        self.decoder_embed = nn.Linear(encoder.width, decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        self.decoder_blocks = nn.ModuleList(
            Block(decoder_width, decoder_heads, encoder.mlp_ratio) for _ in range(decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(decoder_width, eps=1e-6)
        self.decoder_pred = nn.Linear(decoder_width, values)
        for part in (self.decoder_embed, self.decoder_blocks, self.decoder_pred):
            part.apply(init_linear)
        nn.init.normal_(self.mask_token, std=0.02)

    def config(self) -> dict[str, Any]:
        return {
            "mask_ratio": self.mask_ratio,
            "decoder_width": self.decoder_embed.out_features,
            "decoder_depth": len(self.decoder_blocks),
            "decoder_heads": self.decoder_heads,
            "norm_pixels": self.norm_pixels,
        }

    def forward(self, batch: Batch, random: SampleRandom) -> dict[str, Tensor]:
        prepared = self.encoder.spec.prepare(batch)
        image = _only(prepared)
        mask = self.mask(image, random)
        return self.losses(image, mask, self.predict(prepared, mask))

    def mask(self, image: ImageBatch, random: SampleRandom) -> TokenMask:
        rows, cols = self.encoder.grid(image)
        return random_mask(random.uniform(rows * cols), self.mask_ratio)

    def predict(self, prepared: Batch, mask: TokenMask) -> Tensor:
        """(N, L, p*p*C) predicted patches, visible ones included, values in row, column, channel order."""
        return self.decode(self.encoder.forward_features(prepared, mask.keep), _only(prepared), mask)

    def decode(self, features: Features, image: ImageBatch, mask: TokenMask) -> Tensor:
        """(N, L, p*p*C) predicted patches from the encoder's visible tokens."""
        visible = self.decoder_embed(torch.cat([features.class_tokens[0][:, None], _tokens(features.tokens)], 1))
        class_token, tokens = visible[:, :1], mask.unshuffle(visible[:, 1:], self.mask_token)
        scale = self.encoder.position_scale(image)
        positions = sincos_positions(visible.shape[-1], self.encoder.grid(image), scale).to(tokens.device)
        x = torch.cat([class_token, tokens + positions], 1)
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x))[:, 1:]

    def target(self, image: ImageBatch) -> Tensor:
        """(N, L, p*p*C) what is to be predicted."""
        target = patchify(image.pixels[:, 0], self.encoder.patch)
        if not self.norm_pixels:
            return target
        mean, variance = target.mean(-1, keepdim=True), target.var(-1, keepdim=True)
        return (target - mean) / (variance + 1e-6).sqrt()

    def losses(self, image: ImageBatch, mask: TokenMask, prediction: Tensor) -> dict[str, Tensor]:
        """Mean squared error over hidden patches; patches without any observation do not count."""
        error = (prediction.float() - self.target(image)).square().mean(-1)
        weight = mask.hidden
        if image.valid is not None:
            observed = patchify(image.valid[:, :1].float(), self.encoder.patch).amax(-1)
            weight = weight * observed
        pixels = (error * weight).sum() / weight.sum().clamp_min(1)
        return {"pixels": pixels, "total": pixels}

    @torch.no_grad()
    def picture(self, batch: Batch, random: SampleRandom) -> Picture:
        """What is hidden and what is rebuilt of it, in normalised values."""
        prepared = self.encoder.spec.prepare(batch)
        image = _only(prepared)
        mask = self.mask(image, random)
        truth = patchify(image.pixels[:, 0], self.encoder.patch)
        prediction = self.predict(prepared, mask).float()
        if self.norm_pixels:  # undo it with the true patch statistics, as MAE's own visualisation does
            prediction = prediction * (truth.var(-1, keepdim=True) + 1e-6).sqrt() + truth.mean(-1, keepdim=True)
        hidden = mask.hidden[..., None]
        grid, patch = self.encoder.grid(image), self.encoder.patch
        return Picture(
            {
                "input": unpatchify(truth * (1 - hidden), patch, grid),
                "reconstruction": unpatchify(truth * (1 - hidden) + prediction * hidden, patch, grid),
                "truth": image.pixels[:, 0],
            }
        )


def _only(prepared: Batch) -> ImageBatch:
    return next(iter(prepared.images.values()))


def _tokens(tokens: Tensor | None) -> Tensor:
    assert tokens is not None  # a ViT always has tokens
    return tokens
