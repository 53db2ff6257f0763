"""MP-MAE as its authors' code computes it, with the sparse encoder emulated on dense maps that are masked again.

The decoder's one block is evaluated for every task, as the code does; every head predicts all patches.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.baselines import Literal
from benchmarks.baselines.transformer import shuffle_mask
from ecotone.methods import MPMAE
from ecotone.modalities import Modality
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch


class LiteralMPMAE(Literal):
    """Built like, and with the weights of, one of our ``MPMAE`` with the released options."""

    def __init__(self, ours: MPMAE) -> None:
        super().__init__()
        encoder, options = ours.encoder.config(), ours.config()
        width = options["decoder_width"]
        self.patch, self.mask_ratio, self.targets = encoder["patch"], options["mask_ratio"], ours.targets
        self.encoder = Encoder(len(ours.encoder.spec.optical.bands), encoder)
        self.proj = nn.Conv2d(encoder["dims"][-1], width, 1)
        self.mask_token = nn.Parameter(torch.zeros(1, width, 1, 1))
        shared = nn.Sequential(*(Block(width, options["decoder_grn_eps"]) for _ in range(options["decoder_depth"])))
        self.decoders = nn.ModuleDict({"shared": shared})
        self.heads = nn.ModuleDict({t.name: self._head(t, width) for t in self.targets})
        self.pooled_norm = nn.LayerNorm(width, eps=1e-6)
        self.log_variances = nn.Parameter(torch.zeros(len(self.targets)))
        self.adopt(ours)

    def _head(self, target: Modality, width: int) -> nn.Module:
        if target.scope == "image":
            return nn.Linear(width, len(target.channels))
        return nn.Conv2d(width, self.patch**2 * len(target.channels), 1)

    def forward(self, batch: Batch, random: SampleRandom) -> dict[str, Tensor]:
        images = batch["optical"].pixels[:, 0]
        grid = images.shape[-1] // self.patch
        _, _, mask = shuffle_mask(random.uniform(grid * grid), self.mask_ratio)
        square = mask.view(-1, 1, grid, grid)
        x = self.proj(self.encoder(images, square))
        x = x * (1 - square) + self.mask_token * square
        losses = [self._task(target, x, batch, mask) for target in self.targets]
        terms = [(-s).exp() * loss + s for s, loss in zip(self.log_variances, losses, strict=True)]
        named = {t.name: loss for t, loss in zip(self.targets, losses, strict=True)}
        return {**named, "total": torch.stack(terms).sum()}

    def _task(self, target: Modality, x: Tensor, batch: Batch, mask: Tensor) -> Tensor:
        x = self.decoders["shared"](x)
        if target.scope == "image":
            pooled = self.pooled_norm(x.permute(0, 2, 3, 1)).mean((1, 2))
            return image_loss(target, self.heads[target.name](pooled), batch.targets[target.role])
        prediction = self.heads[target.name](x).flatten(2).transpose(1, 2)
        return pixel_loss(target, prediction, batch[target.role].pixels[:, 0], mask, self.patch)


def image_loss(target: Modality, prediction: Tensor, truth: Tensor) -> Tensor:
    if target.kind == "categorical":
        return F.cross_entropy(prediction, truth)
    return F.mse_loss(prediction, truth)


def pixel_loss(target: Modality, prediction: Tensor, images: Tensor, mask: Tensor, patch: int) -> Tensor:
    truth = patchify(images, patch)
    if target.kind == "categorical":
        labels = torch.where(mask[..., None] > 0, truth, -1.0).long()
        return F.cross_entropy(prediction.reshape(-1, len(target.channels)), labels.flatten(), ignore_index=-1)
    if target.role == "optical":
        truth = (truth - truth.mean(-1, keepdim=True)) / (truth.var(-1, keepdim=True) + 1e-6).sqrt()
    error = ((prediction - truth) ** 2).mean(-1) * mask
    return error.sum() / error.count_nonzero()


def patchify(images: Tensor, patch: int) -> Tensor:
    n, c, height, width = images.shape
    cells = images.reshape(n, c, height // patch, patch, width // patch, patch)
    return torch.einsum("nchpwq->nhwpqc", cells).reshape(n, -1, patch * patch * c)


class Encoder(nn.Module):
    """ConvNeXt V2 on maps that are zero where nothing is to be seen, after every layer that would change that."""

    def __init__(self, bands: int, config: dict) -> None:
        super().__init__()
        dims, step = config["dims"], config["patch"] // 8
        self.step, self.patch = step, config["patch"]
        self.initial_conv = nn.Sequential(nn.Conv2d(bands, dims[0], 3, padding=1), Norm2d(dims[0]), nn.GELU())
        self.stem = nn.Sequential(nn.Conv2d(dims[0], dims[0], step, step, groups=dims[0]), Norm2d(dims[0]))
        self.stages = nn.ModuleList(
            nn.ModuleList(Block(dim, 1e-6) for _ in range(depth))
            for dim, depth in zip(dims, config["depths"], strict=True)
        )
        self.downsample_layers = nn.ModuleList(
            nn.Sequential(Norm2d(a), nn.Conv2d(a, b, 2, 2)) for a, b in pairwise(dims)
        )

    def forward(self, images: Tensor, hidden: Tensor) -> Tensor:
        x = images * (1 - F.interpolate(hidden, scale_factor=self.patch, mode="nearest"))
        active = (x != 0).any(1, keepdim=True).to(x.dtype)
        x = self.initial_conv(x) * active
        active = F.max_pool2d(active, self.step)
        x = self.stem(x) * active
        for i, stage in enumerate(self.stages):
            if i:
                norm, conv = cast(nn.Sequential, self.downsample_layers[i - 1])
                x = conv(norm(x) * active)
                active = F.max_pool2d(active, 2)
                x = x * active
            for block in cast(nn.ModuleList, stage):
                x = block(x, active)
        return x


class Block(nn.Module):
    """A ConvNeXt V2 block, dense with norms per sample, or masked with norms over the whole batch."""

    def __init__(self, width: int, grn_eps: float) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.grn = GRN(4 * width, grn_eps)
        self.pwconv2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, active: Tensor | None = None) -> Tensor:
        y = F.gelu(self.pwconv1(self.norm(self.dwconv(x).permute(0, 2, 3, 1))))
        if active is not None:
            y = y * active.permute(0, 2, 3, 1)
        y = self.pwconv2(self.grn(y, (1, 2) if active is None else (0, 1, 2))).permute(0, 3, 1, 2)
        return x + (y if active is None else y * active)


class GRN(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.zeros(width))
        self.beta = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, over: tuple[int, ...]) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=over, keepdim=True)
        response = norm / (norm.mean(-1, keepdim=True) + self.eps)
        return self.gamma * (x * response) + self.beta + x


class Norm2d(nn.LayerNorm):
    """Over the channels of an (N, C, H, W) map."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()
