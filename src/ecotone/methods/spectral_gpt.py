"""SpectralGPT (Hong et al., "SpectralGPT: Spectral Remote Sensing Foundation Model", TPAMI 2024).

An image is cut into 3-D tokens: a group of neighbouring bands, in a patch. The encoder sees a tenth of them, drawn over
all groups and places; a light decoder predicts all. Two targets: the hidden tokens, and the spectral sequence of every
patch, visible tokens included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ecotone.encoders.spectral_vit import SpectralViT, learned_positions, with_class_token
from ecotone.methods.base import Method, Picture
from ecotone.nn.masking import TokenMask, random_mask
from ecotone.nn.patches import spectral_unpatchify
from ecotone.nn.positions import resize_grid, separable_positions
from ecotone.nn.transformer import Block, init_linear
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch, ImageBatch


class SpectralGPT(Method):
    """Masked autoencoding of 3-D tokens.

    Args:
        encoder: A spectral ViT.
        mask_ratio: Fraction of tokens hidden from the encoder.
        decoder_width: Token length of the decoder.
        decoder_depth: Blocks of the decoder.
        decoder_heads: Heads of the decoder.
        norm_pixels: Predict each token normalised by its own mean and variance.
        token_weight: Weight of the error of hidden tokens.
        spectral_weight: Weight of the error of the spectral sequence: the sum over the T groups, as in the official
            code, where it is the larger part of the loss. 1 / T^2 makes it the error of their mean.
        restore_pixels: With ``norm_pixels``, turn predictions back into pixel values before they are summed over the
            spectrum. The official code compares normalised predictions with raw sums: one prediction, two targets.
    """

    kind = "spectral-gpt"
    encoder: SpectralViT

    def __init__(
        self,
        encoder: SpectralViT,
        *,
        mask_ratio: float = 0.9,
        decoder_width: int = 512,
        decoder_depth: int = 4,
        decoder_heads: int = 16,
        norm_pixels: bool = False,
        token_weight: float = 1.0,
        spectral_weight: float = 1.0,
        restore_pixels: bool = True,
    ) -> None:
        super().__init__(encoder)
        self._config = {k: v for k, v in locals().items() if k not in {"self", "encoder", "__class__"}}
        self.mask_ratio, self.norm_pixels, self.restore_pixels = mask_ratio, norm_pixels, restore_pixels
        self.token_weight, self.spectral_weight = token_weight, spectral_weight
        self.decoder_embed = nn.Linear(encoder.width, decoder_width)
        self.decoder_blocks = nn.ModuleList(
            Block(decoder_width, decoder_heads, encoder.mlp_ratio) for _ in range(decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(decoder_width, eps=1e-6)
        self.decoder_pred = nn.Linear(decoder_width, encoder.group * encoder.patch**2)
        for part in (self.decoder_embed, self.decoder_blocks, self.decoder_pred):
            part.apply(init_linear)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        nn.init.normal_(self.mask_token, std=0.02)
        self.decoder_pos_embed_spatial = learned_positions(encoder.pos_embed_spatial.shape[1], decoder_width)
        self.decoder_pos_embed_spectral = learned_positions(encoder.groups, decoder_width)
        has_class = encoder.cls_token is not None
        self.decoder_cls_token = nn.Parameter(torch.zeros(1, 1, decoder_width)) if has_class else None
        self.decoder_pos_embed_class = learned_positions(1, decoder_width) if has_class else None

    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def fit_state(self, state: Mapping[str, Tensor], bands: Sequence[str]) -> dict[str, Tensor]:
        """As the base says; the decoder's positions are carried over as the encoder's are."""
        return super().fit_state(self.encoder.fit_positions(state, bands, "decoder_"), bands)

    def forward(self, batch: Batch, random: SampleRandom) -> dict[str, Tensor]:
        prepared = self.encoder.spec.prepare(batch)
        image = _only(prepared)
        mask = self.mask(image, random)
        return self.losses(image, mask, self.predict(prepared, mask))

    def mask(self, image: ImageBatch, random: SampleRandom) -> TokenMask:
        """Drawn over all tokens at once: not per group, and no tubes through the spectrum."""
        rows, cols = self.encoder.grid(image)
        return random_mask(random.uniform(self.encoder.groups * rows * cols), self.mask_ratio)

    def predict(self, prepared: Batch, mask: TokenMask) -> Tensor:
        """(N, L, u*p*p) all tokens, visible ones included, values in band, row, column order."""
        visible = self.encoder.forward_features(prepared, mask.keep).tokens
        assert visible is not None  # a spectral ViT always has tokens
        return self.decode(visible, self.encoder.grid(_only(prepared)), mask)

    def decode(self, visible: Tensor, grid: tuple[int, int], mask: TokenMask) -> Tensor:
        """(N, L, u*p*p) from the encoder's visible tokens (N, K, D). The encoder's class token takes no part."""
        cells = resize_grid(self.decoder_pos_embed_spatial, grid)
        tokens = mask.unshuffle(self.decoder_embed(visible), self.mask_token)
        x = tokens + separable_positions(self.decoder_pos_embed_spectral, cells)
        x = with_class_token(x, self.decoder_cls_token, self.decoder_pos_embed_class)
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x)[:, -tokens.shape[1] :])

    def target(self, image: ImageBatch) -> Tensor:
        """(N, L, u*p*p) what is to be predicted of each token."""
        tokens = self.encoder.cut(image.pixels[:, 0])
        if not self.norm_pixels:
            return tokens
        mean, spread = _statistics(tokens)
        return (tokens - mean) / spread

    def losses(self, image: ImageBatch, mask: TokenMask, prediction: Tensor) -> dict[str, Tensor]:
        """Mean squared error of hidden tokens, and of the sums over the spectrum; only observed values count."""
        prediction = prediction.float()
        observed = self._observed(image)
        difference = (prediction - self.target(image)) * observed
        counts = observed.sum(-1).expand_as(mask.hidden)
        error = difference.square().sum(-1) / counts.clamp_min(1)
        weight = mask.hidden * (counts > 0)
        token = self.token_weight * (error * weight).sum() / weight.sum().clamp_min(1)
        spectral = self.spectral_weight * self._spectral_error(image, prediction, observed)
        return {"token": token, "spectral": spectral, "total": token + spectral}

    def _spectral_error(self, image: ImageBatch, prediction: Tensor, observed: Tensor) -> Tensor:
        """Mean squared difference of the sums over the groups, at the same place and the same band within its group."""
        truth = self.encoder.cut(image.pixels[:, 0])
        pixels = self._pixels(prediction, truth) if self.restore_pixels else prediction
        sums = self.spectral_sum((pixels - truth) * observed)
        counts = self.spectral_sum(observed).expand_as(sums) > 0
        return (sums.square() * counts).sum() / counts.sum().clamp_min(1)

    def spectral_sum(self, tokens: Tensor) -> Tensor:
        """(N, L, P) to the sum over the spectrum (N, L/T, P)."""
        return tokens.unflatten(1, (self.encoder.groups, -1)).sum(1)

    def _observed(self, image: ImageBatch) -> Tensor:
        """(N or 1, L, u*p*p) float: 1 for values that were observed, 0 for others and for bands that only pad."""
        pixels = image.pixels[:, 0]
        real = pixels.new_ones(1, *pixels.shape[1:]) if image.valid is None else image.valid.expand_as(pixels).float()
        padding = self.encoder.groups * self.encoder.group - pixels.shape[1]
        return self.encoder.cut(nn.functional.pad(real, (0, 0, 0, 0, 0, padding)))

    def _pixels(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """Predictions as pixel values; with ``norm_pixels`` by the true statistics of each token."""
        if not self.norm_pixels:
            return prediction
        mean, spread = _statistics(truth)
        return prediction * spread + mean

    @torch.no_grad()
    def picture(self, batch: Batch, random: SampleRandom) -> Picture:
        """What is hidden and what is rebuilt of it, in normalised values."""
        prepared = self.encoder.spec.prepare(batch)
        image = _only(prepared)
        mask = self.mask(image, random)
        truth = self.encoder.cut(image.pixels[:, 0])
        prediction = self._pixels(self.predict(prepared, mask).float(), truth)
        hidden = mask.hidden[..., None]
        return Picture(
            {
                "input": self.image(truth * (1 - hidden), image),
                "reconstruction": self.image(truth * (1 - hidden) + prediction * hidden, image),
                "truth": image.pixels[:, 0],
            }
        )

    def image(self, tokens: Tensor, like: ImageBatch) -> Tensor:
        """(N, C, H, W) from tokens (N, L, u*p*p); bands that only pad are dropped."""
        return spectral_unpatchify(tokens, self.encoder.patch, self.encoder.grid(like))[:, : like.pixels.shape[2]]


def _statistics(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the values of each token."""
    return tokens.mean(-1, keepdim=True), (tokens.var(-1, keepdim=True) + 1e-6).sqrt()


def _only(prepared: Batch) -> ImageBatch:
    return next(iter(prepared.images.values()))
