"""Scale-MAE: masked autoencoding in which the ground area of the image sets the positions.

Reed, Gupta, Li et al., "Scale-MAE: A Scale-Aware Masked Autoencoder for Multiscale Geospatial Representation
Learning", ICCV 2023.

The encoder's positions are scaled by the ground sample distance. From a masked, down-sampled input the decoder
rebuilds a low-frequency image at the input's size and a high-frequency image at the target's, in three stages:
decoding (ViT blocks), upsampling (transposed convolutions), reconstruction (the paper's Laplacian blocks).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecotone.encoders import ViT
from ecotone.errors import InputError, RecipeError
from ecotone.methods.base import Method, Picture
from ecotone.nn.convolutions import Enlarge, PairConv, Pointwise, in_strips, split_pairs
from ecotone.nn.masking import TokenMask, random_mask
from ecotone.nn.positions import sincos_positions
from ecotone.nn.transformer import Block, init_linear
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch, ImageBatch
from ecotone.transforms import downsample, resize


class ScaleMAE(Method):
    """Scale-aware masked autoencoding.

    Args:
        encoder: A ViT, with ``gsd`` positions unless the GSD is to be ablated.
        target_ratio: Target size over input size; a batch holds images of the target's size.
        source_size: Shorter side in pixels of the input view: larger target views are first averaged down to
            ``source_size * target_ratio``, and their GSD grows with it (the paper's ablation of the input size). None
            leaves target views as they are. The official code rebuilds such a target by enlarging the input instead,
            which has no high band left.
        mask_ratio: Fraction of patches hidden from the encoder.
        decoder_width: Token length of the decoding stage and channels of the upsampling stage.
        decoder_depth: Blocks of the decoding stage.
        decoder_heads: Heads of the decoding stage.
        head_width: Channels of the reconstruction heads, a multiple of 4.
        head_layers: Residual convolution blocks in each head.
        shared_head: One head for both bands; the sizes of the two outputs must then ask for the same upsampling.
        progressive: Build the high band on the low band's upsampled map instead of beside it.
        low_pass: Cells along the shorter side of the grid below which frequencies count as low for the high band: the
            high target is the target minus its reduction to this grid. By default the paper's 7 of 448 pixels, as a
            ratio.
        low_target: ``input``: the target averaged to the input's size (what the official code computes); ``band``:
            averaged to ``low_target_cells`` and enlarged to the input's size (what the paper says).
        low_target_cells: Cells along the shorter side of the low band: for ``band`` the paper's 56 of 448 pixels by
            default; for ``input`` an intermediate grid of the averaging, none by default (the official code has one
            of 224).
        high_loss: ``l1`` (the paper) or ``l2`` (the default of the official command line).
        high_weight: Weight of the high band's loss.
        sum_channels: Sum the error over channels instead of averaging it. The official code divides by the number of
            hidden pixels only, so that its losses are as many times larger as there are channels.
        filter: How input views are made from target views; the official code down-samples without anti-aliasing and
            with aligned corners (``bilinear-aligned``).
    """

    kind = "scale-mae"
    encoder: ViT

    def __init__(
        self,
        encoder: ViT,
        *,
        target_ratio: int = 2,
        source_size: int | None = None,
        mask_ratio: float = 0.75,
        decoder_width: int = 512,
        decoder_depth: int = 3,
        decoder_heads: int = 16,
        head_width: int = 512,
        head_layers: int = 2,
        shared_head: bool = False,
        progressive: bool = False,
        low_pass: int | None = None,
        low_target: Literal["input", "band"] = "input",
        low_target_cells: int | None = None,
        high_loss: Literal["l1", "l2"] = "l1",
        high_weight: float = 1.0,
        sum_channels: bool = False,
        filter: Literal["area", "bilinear", "bilinear-aligned"] = "area",
    ) -> None:
        super().__init__(encoder)
        self._config = {k: v for k, v in locals().items() if k not in {"self", "encoder", "__class__"}}
        self.target_ratio, self.source_size = target_ratio, source_size
        self.mask_ratio, self.filter = mask_ratio, filter
        self.low_pass, self.low_target, self.low_target_cells = low_pass, low_target, low_target_cells
        self.high_loss, self.high_weight, self.sum_channels = high_loss, high_weight, sum_channels

        self.decoder_embed = nn.Linear(encoder.width, decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        self.decoder_blocks = nn.ModuleList(
            Block(decoder_width, decoder_heads, encoder.mlp_ratio) for _ in range(decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(decoder_width, eps=1e-6)
        self.decoder_embed.apply(init_linear)
        self.decoder_blocks.apply(init_linear)
        nn.init.normal_(self.mask_token, std=0.02)

        self.fpn = UpsamplingNeck(decoder_width, progressive)
        channels = len(encoder.spec.optical.bands)
        low_up, high_up = _upsampling(encoder.patch, 2), _upsampling(encoder.patch * target_ratio, 4)
        if shared_head:
            if low_up != high_up:
                raise RecipeError(
                    "a shared head needs the same upsampling for both bands",
                    found=f"{low_up} and {high_up}",
                    mend="Set target_ratio: 2 or shared_head: false.",
                )
            self.fcn = ReconstructionHead(decoder_width, head_width, head_layers, channels, low_up)
        else:
            self.fcn_high = ReconstructionHead(decoder_width, head_width, head_layers, channels, high_up)
            self.fcn_low = ReconstructionHead(decoder_width, head_width, head_layers, channels, low_up)

    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def input_size(self, size: int) -> int:
        return self.source_size or size // self.target_ratio

    def forward(self, batch: Batch, random: SampleRandom) -> dict[str, Tensor]:
        target = self._image(self.encoder.spec.prepare(batch))
        source = downsample(target, self.target_ratio, self.filter)
        mask = self.mask(source, random)
        low, high = self.predict(batch, source, mask)
        targets = self.targets(target.pixels[:, 0], low.shape[-2:])
        return self.losses(targets, (low, high), self._weights(mask, target))

    def mask(self, source: ImageBatch, random: SampleRandom) -> TokenMask:
        rows, cols = self.encoder.grid(source)
        return random_mask(random.uniform(rows * cols), self.mask_ratio)

    def predict(self, batch: Batch, source: ImageBatch, mask: TokenMask) -> tuple[Tensor, Tensor]:
        """Low band (N, C, h, w) at the input's size and high band (N, C, H, W) at the target's."""
        role = next(iter(self.encoder.spec.roles))
        features = self.encoder.forward_features(batch.replace_images(**{role: source}), mask.keep)
        assert features.tokens is not None  # a ViT always has tokens
        return self.reconstruct(self.decode(features.tokens, source, mask))

    def decode(self, visible: Tensor, source: ImageBatch, mask: TokenMask) -> Tensor:
        """Stage 1: (N, K, D) visible tokens to (N, decoder width, rows, cols). The class token takes no part."""
        tokens = mask.unshuffle(self.decoder_embed(visible), self.mask_token)
        grid, scale = self.encoder.grid(source), self.encoder.position_scale(source)
        x = tokens + sincos_positions(tokens.shape[-1], grid, scale).to(tokens.device)
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_norm(x).transpose(1, 2).unflatten(2, grid)

    def reconstruct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Stages 2 and 3: (N, D, rows, cols) to the low and the high band."""
        low, high = self.fpn(x)
        if hasattr(self, "fcn"):
            return self.fcn(low), self.fcn(high)
        return self.fcn_low(low), self.fcn_high(high)

    def targets(self, target: Tensor, low_size: torch.Size | tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Low and high band of normalised target images (N, C, H, W); the low band has ``low_size``."""
        size = target.shape[-2:]
        high = target - _enlarge(self._coarse(target), size)
        if self.low_target == "band":
            return _enlarge(_average(target, _cells(size, self.low_target_cells, 56 / 448)), low_size), high
        cells = self.low_target_cells
        coarse = target if cells is None else _average(target, _cells(size, cells, 1.0))
        return _average(coarse, low_size), high

    def _coarse(self, image: Tensor) -> Tensor:
        """The image averaged to the grid that divides low from high frequencies."""
        return _average(image, _cells(image.shape[-2:], self.low_pass, 7 / 448))

    def losses(
        self, targets: tuple[Tensor, Tensor], predictions: tuple[Tensor, Tensor], weights: tuple[Tensor, Tensor]
    ) -> dict[str, Tensor]:
        """Squared error of the low band plus absolute or squared error of the high band, over hidden pixels.

        Args:
            targets: Low and high band (N, C, ...).
            predictions: The same.
            weights: (N, 1, ...) each, 1 where a pixel counts.
        """
        low_error = (targets[0] - predictions[0].float()).square()
        difference = targets[1] - predictions[1].float()
        high_error = difference.abs() if self.high_loss == "l1" else difference.square()
        low, high = (self._mean(e, w) for e, w in zip((low_error, high_error), weights, strict=True))
        high = self.high_weight * high
        return {"low": low, "high": high, "total": low + high}

    def _mean(self, error: Tensor, weight: Tensor) -> Tensor:
        mean = (error * weight).sum() / (weight.sum() + 1e-9)
        return mean if self.sum_channels else mean / error.shape[1]

    def _weights(self, mask: TokenMask, target: ImageBatch) -> tuple[Tensor, Tensor]:
        """Per-pixel weights of both bands: hidden, and observed where the image says so."""
        high_size = target.size
        low_size = (high_size[0] // self.target_ratio, high_size[1] // self.target_ratio)
        patch = self.encoder.patch
        hidden = mask.hidden.view(len(mask.hidden), 1, low_size[0] // patch, low_size[1] // patch)
        low, high = (F.interpolate(hidden, s, mode="nearest") for s in (low_size, high_size))
        if target.valid is not None:
            valid = target.valid[:, :1].float()
            high = high * valid
            low = low * (F.interpolate(valid, low_size, mode="area") > 0.999)
        return low, high

    def _image(self, prepared: Batch) -> ImageBatch:
        """The target view: the prepared image, averaged down where the source size asks for it."""
        image = next(iter(prepared.images.values()))
        if self.source_size is not None and min(image.size) != self.source_size * self.target_ratio:
            image = resize(image, _cells(image.size, self.source_size * self.target_ratio, 1.0), "area")
        side = self.encoder.patch * self.target_ratio
        if any(n % side for n in image.size):
            raise InputError(
                "Scale-MAE's target view does not divide into patches of the input view",
                found=f"{image.size[0]} x {image.size[1]} pixels",
                expected=f"multiples of {side} (patch {self.encoder.patch} x target ratio {self.target_ratio})",
            )
        return image

    @torch.no_grad()
    def picture(self, batch: Batch, random: SampleRandom) -> Picture:
        """What is hidden and what is rebuilt of it, in normalised values."""
        target = self._image(self.encoder.spec.prepare(batch))
        source = downsample(target, self.target_ratio, self.filter)
        mask = self.mask(source, random)
        low, high = (p.float() for p in self.predict(batch, source, mask))
        weight_low, _ = self._weights(mask, target)
        coarse = _enlarge(_average(low, self._coarse(high).shape[-2:]), high.shape[-2:])
        return Picture(
            {
                "input": source.pixels[:, 0] * (1 - weight_low),
                "low band": low,
                "high band": high,
                "low + high": coarse + high,
                "truth": target.pixels[:, 0],
            },
            residuals=("high band",),
        )


class UpsamplingNeck(nn.Module):
    """Stage 2: (N, C, p, q) to maps of twice and four times the size."""

    def __init__(self, width: int, progressive: bool) -> None:
        super().__init__()
        self.progressive = progressive
        up = [Enlarge(width, width, 2) for _ in range(3 if not progressive else 2)]
        middle = [Norm2d(width), nn.GELU()]
        self.fpn1 = nn.Sequential(*middle, up[0]) if progressive else nn.Sequential(up[0], *middle, up[1])
        self.fpn2 = nn.Sequential(up[-1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.permute(0, 2, 3, 1)
        low = self.fpn2(x)
        high = self.fpn1(low if self.progressive else x)
        return low.permute(0, 3, 1, 2), high.permute(0, 3, 1, 2)


class ReconstructionHead(nn.Module):
    """Stage 3: residual convolution blocks, then upsampling by ``up[0] * up[1]`` to the image's channels.

    The maps have their channels last within (``ecotone.nn.convolutions`` says why).
    """

    def __init__(self, width: int, hidden: int, layers: int, channels: int, up: tuple[int, int]) -> None:
        super().__init__()
        if hidden % 4:
            raise RecipeError("head_width must be a multiple of 4", found=hidden)
        half, quarter = hidden // 2, hidden // 4
        self.proj = Pointwise(width, hidden)
        self.conv_blocks = nn.ModuleList(ConvBlock(hidden) for _ in range(layers))
        self.pred = nn.Sequential(
            Norm2d(hidden),
            Enlarge(hidden, half, up[0]),
            nn.GELU(),
            PairConv(quarter),
            nn.GELU(),
            Pointwise(quarter, half),
            nn.GELU(),
            Enlarge(half, channels, up[1]),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to (N, image channels, H, W)."""
        x = self.proj(x.permute(0, 2, 3, 1))
        for block in self.conv_blocks:
            x = block(x)
        layers: list[Any] = list(self.pred)
        norm, enlarge, gelu, pair, *within, last = layers
        even, odd = enlarge.pair(norm(x))
        x = pair((gelu(even), gelu(odd)))
        cells = in_strips(lambda sites: last.cells(nn.Sequential(*within)(sites)), x)
        return last.arrange(cells).permute(0, 3, 1, 2).contiguous()


class ConvBlock(nn.Module):
    """A grouped bottleneck beside a 1x1 convolution, (N, h, w, C) to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.convs = nn.Sequential(nn.GELU(), PairConv(half), nn.GELU(), Pointwise(half, width))
        self.residual = Pointwise(width, width)

    def forward(self, x: Tensor) -> Tensor:
        gelu, pair, *rest = self.convs
        bottleneck = pair(split_pairs(gelu(x)))
        for layer in rest:
            bottleneck = layer(bottleneck)
        return bottleneck + self.residual(x)


class Norm2d(nn.Module):
    """LayerNorm over the channels of an (N, h, w, C) map."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.ln(x)


def _upsampling(pixels: int, neck: int) -> tuple[int, int]:
    """Factors of a head whose input the neck has enlarged ``neck`` times, to make ``pixels`` of one token."""
    factor, rest = divmod(pixels, neck)
    if rest or not factor:
        raise RecipeError(
            f"patch times target ratio must be a multiple of {neck}", found=pixels, mend="Choose another patch size."
        )
    return (factor // 2, 2) if factor % 2 == 0 else (factor, 1)


def _cells(size: Sequence[int], shorter: int | None, ratio: float) -> tuple[int, int]:
    """Rows and columns of a grid with the image's aspect: ``shorter`` cells on the shorter side, or by the ratio."""
    scale = ratio if shorter is None else shorter / min(size)
    rows, cols = (max(1, round(n * scale)) for n in size)
    return rows, cols


def _average(image: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(image, tuple(size), mode="area")


def _enlarge(image: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    return F.interpolate(image, tuple(size), mode="bilinear", align_corners=False)
