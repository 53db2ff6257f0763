"""Scale-MAE as its authors' code computes it: contiguous maps, transposed and grouped convolutions as they stand.

It computes all that a published training step computes: also the full-band image and the patches of all predictions,
which are only looked at, and the position table of the target, which nothing uses.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.baselines import Literal
from benchmarks.baselines.transformer import Attention, Block, fill, pick, shuffle_mask
from ecotone.methods import ScaleMAE
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch


class LiteralScaleMAE(Literal):
    """Built like, and with the weights of, one of our ``ScaleMAE`` (released options: summed channels)."""

    def __init__(self, ours: ScaleMAE) -> None:
        super().__init__()
        encoder, options = ours.encoder, ours.config()
        width, hidden = options["decoder_width"], options["head_width"]
        self.options, self.patch = options, encoder.patch
        self.encoder = Encoder(encoder.width, len(encoder.blocks), encoder.heads, encoder.patch)
        self.decoder_embed = nn.Linear(encoder.width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        heads = options["decoder_heads"]
        self.decoder_blocks = nn.ModuleList(
            Block(width, Attention(width, heads)) for _ in range(options["decoder_depth"])
        )
        self.decoder_norm = nn.LayerNorm(width, eps=1e-6)
        self.fpn = Neck(width)
        up = encoder.patch // 4
        self.fcn_high = Head(width, hidden, options["head_layers"], up)
        self.fcn_low = Head(width, hidden, options["head_layers"], up)
        self.adopt(ours)

    def forward(self, batch: Batch, random: SampleRandom) -> dict[str, Tensor]:
        image = batch["optical"]
        target, p = image.pixels[:, 0], self.patch
        size = target.shape[-1] // 2
        source = F.interpolate(target, (size, size), mode="bilinear", align_corners=True)
        grid, scale = size // p, image.gsd * 2
        keep, restore, mask = shuffle_mask(random.uniform(grid * grid), self.options["mask_ratio"])
        positions = position_table(self.encoder.cls_token.shape[-1], grid, scale)
        x = fill(self.decoder_embed(self.encoder(source, positions, keep)[:, 1:]), self.mask_token, restore)
        width = x.shape[-1]
        x = torch.cat([x.new_zeros(len(x), 1, width), x], 1) + F.pad(position_table(width, grid, scale), (0, 0, 1, 0))
        position_table(width, 2 * grid, image.gsd)  # the target's, which nothing uses
        x = x[:, 1:]
        for block in self.decoder_blocks:
            x = block(x)
        x = self.decoder_norm(x).permute(0, 2, 1).reshape(len(x), width, grid, grid)
        low_map, high_map = self.fpn(x)
        high, low = self.fcn_high(high_map), self.fcn_low(low_map)
        losses = self.losses(target, low, high, mask)
        self.views = self.visualise(low, high, p)
        return losses

    def losses(self, target: Tensor, low: Tensor, high: Tensor, mask: Tensor) -> dict[str, Tensor]:
        grid = int(mask.shape[1] ** 0.5)
        cells = (self.options["low_pass"] or 7,) * 2
        coarse = F.interpolate(target, cells, mode="area")
        target_high = target - F.interpolate(coarse, target.shape[-2:], mode="bilinear")
        target_low = F.interpolate(target, low.shape[-2:], mode="area")
        square = mask.view(len(mask), 1, grid, grid)
        low_mask = F.interpolate(square, low.shape[-2:], mode="nearest")
        high_mask = F.interpolate(square, high.shape[-2:], mode="nearest")
        low_loss = ((target_low - low) ** 2 * low_mask).sum() / (low_mask.sum() + 1e-9)
        difference = target_high - high
        error = difference.abs() if self.options["high_loss"] == "l1" else difference**2
        high_loss = self.options["high_weight"] * (error * high_mask).sum() / (high_mask.sum() + 1e-9)
        return {"low": low_loss, "high": high_loss, "total": low_loss + high_loss}

    def visualise(self, low: Tensor, high: Tensor, patch: int) -> list[Tensor]:
        cells = (self.options["low_pass"] or 7,) * 2
        coarse = F.interpolate(F.interpolate(low, cells, mode="area"), high.shape[-2:], mode="bilinear")
        return [_patchify(image, patch) for image in (high, low, coarse + high)]


class Encoder(nn.Module):
    def __init__(self, width: int, depth: int, heads: int, patch: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(width, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(Block(width, Attention(width, heads)) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, images: Tensor, positions: Tensor, keep: Tensor) -> Tensor:
        x = self.patch_embed(images)
        x = pick(x + positions, keep)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class PatchEmbed(nn.Module):
    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


class Neck(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        up = [nn.ConvTranspose2d(width, width, 2, 2) for _ in range(3)]
        self.fpn1 = nn.Sequential(up[0], Norm2d(width), nn.GELU(), up[1])
        self.fpn2 = nn.Sequential(up[2])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.fpn2(x), self.fpn1(x)


class Head(nn.Module):
    def __init__(self, width: int, hidden: int, layers: int, up: int) -> None:
        super().__init__()
        half, quarter = hidden // 2, hidden // 4
        self.proj = nn.Conv2d(width, hidden, 1)
        self.conv_blocks = nn.ModuleList(Residual(hidden) for _ in range(layers))
        self.pred = nn.Sequential(
            Norm2d(hidden),
            nn.ConvTranspose2d(hidden, half, up, up),
            nn.GELU(),
            nn.Conv2d(half, quarter, 3, padding=1, groups=quarter),
            nn.GELU(),
            nn.Conv2d(quarter, half, 1),
            nn.GELU(),
            nn.ConvTranspose2d(half, 3, 2, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x)
        for block in self.conv_blocks:
            x = block(x)
        return self.pred(x)


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        grouped = nn.Conv2d(width, half, 3, padding=1, groups=half)
        self.convs = nn.Sequential(nn.GELU(), grouped, nn.GELU(), nn.Conv2d(half, width, 1))
        self.residual = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(x) + self.residual(x)


class Norm2d(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.ln(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()


def position_table(width: int, grid: int, scale: Tensor) -> Tensor:
    """(N, grid * grid, width) sines and cosines of the scaled column, then of the scaled row."""
    quarter = width // 4
    omega = 1 / 10000 ** (torch.arange(quarter, dtype=torch.float32, device=scale.device) / quarter)
    along = torch.arange(grid, dtype=torch.float32, device=scale.device)
    rows, cols = torch.meshgrid(along, along, indexing="ij")
    angles = [(scale[:, None] * axis.flatten())[:, :, None] * omega for axis in (cols, rows)]
    return torch.cat([table for a in angles for table in (a.sin(), a.cos())], 2)


def _patchify(image: Tensor, patch: int) -> Tensor:
    n, c, height, width = image.shape
    cells = image.reshape(n, c, height // patch, patch, width // patch, patch)
    return torch.einsum("nchpwq->nhwpqc", cells).reshape(n, -1, patch * patch * c)
