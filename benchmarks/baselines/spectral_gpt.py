"""SpectralGPT as its authors' code computes it: a 3-D convolution of all tokens, three projections, plain attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.baselines import Literal
from benchmarks.baselines.transformer import Block, attend, fill, pick, shuffle_mask
from ecotone.methods import SpectralGPT
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch


class LiteralSpectralGPT(Literal):
    """Built like, and with the weights of, one of our ``SpectralGPT``."""

    def __init__(self, ours: SpectralGPT) -> None:
        super().__init__()
        encoder, options = ours.encoder, ours.config()
        self.mask_ratio = options["mask_ratio"]
        self.encoder = Encoder(encoder.config(), encoder.groups)
        width = options["decoder_width"]
        cells = (encoder.image_size // encoder.patch) ** 2
        self.decoder_embed = nn.Linear(encoder.width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_pos_embed_spatial = nn.Parameter(torch.zeros(1, cells, width))
        self.decoder_pos_embed_spectral = nn.Parameter(torch.zeros(1, encoder.groups, width))
        self.decoder_blocks = nn.ModuleList(
            Block(width, Attention(width, options["decoder_heads"])) for _ in range(options["decoder_depth"])
        )
        self.decoder_norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder_pred = nn.Linear(width, encoder.group * encoder.patch**2)
        self.adopt(ours)

    def translate(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        split = {}
        for name, tensor in tensors.items():
            if ".qkv." not in name:
                split[name] = tensor
                continue
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                split[name.replace(".qkv.", f".{part}.")] = rows
        return split

    def forward(self, batch: Batch, random: SampleRandom) -> dict[str, Tensor]:
        images = batch["optical"].pixels[:, 0]
        tokens = self.encoder.patch_embed(images[:, None])
        keep, restore, mask = shuffle_mask(random.uniform(tokens.shape[1]), self.mask_ratio)
        x = self.encoder(tokens, keep)
        x = fill(self.decoder_embed(x), self.mask_token, restore)
        x = x + positions(self.decoder_pos_embed_spatial, self.decoder_pos_embed_spectral)
        for block in self.decoder_blocks:
            x = block(x)
        return self.losses(images, self.decoder_pred(self.decoder_norm(x)), mask)

    def losses(self, images: Tensor, prediction: Tensor, mask: Tensor) -> dict[str, Tensor]:
        _, _, group, patch, _ = self.encoder.patch_embed.proj.weight.shape
        n, bands, height, width = images.shape
        blocks = images.reshape(n, bands // group, group, height // patch, patch, width // patch, patch)
        truth = torch.einsum("ntuhpwq->nthwupq", blocks).reshape(n, -1, group * patch**2)
        error = ((prediction - truth) ** 2).mean(-1)
        token = (error * mask).sum() / mask.sum()
        groups = bands // group
        sums = (x.reshape(n, groups, -1, x.shape[-1]).sum(1) for x in (prediction, truth))
        predicted, true = sums
        spectral = ((predicted - true) ** 2).mean()
        return {"token": token, "spectral": spectral, "total": token + spectral}


class Encoder(nn.Module):
    def __init__(self, config: dict, groups: int) -> None:
        super().__init__()
        width, patch = config["width"], config["patch"]
        self.patch_embed = PatchEmbed(width, config["group"], patch)
        self.pos_embed_spatial = nn.Parameter(torch.zeros(1, (config["image_size"] // patch) ** 2, width))
        self.pos_embed_spectral = nn.Parameter(torch.zeros(1, groups, width))
        self.blocks = nn.ModuleList(Block(width, Attention(width, config["heads"])) for _ in range(config["depth"]))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, tokens: Tensor, keep: Tensor) -> Tensor:
        table = positions(self.pos_embed_spatial, self.pos_embed_spectral).expand(len(tokens), -1, -1)
        x = pick(tokens, keep) + pick(table, keep)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class PatchEmbed(nn.Module):
    def __init__(self, width: int, group: int, patch: int) -> None:
        super().__init__()
        size = (group, patch, patch)
        self.proj = nn.Conv3d(1, width, size, size)

    def forward(self, volumes: Tensor) -> Tensor:
        return self.proj(volumes).flatten(2).transpose(1, 2)  # the group of bands is the slowest


class Attention(nn.Module):
    """Three projections instead of one."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v))
        return self.proj(attend(q, k, v))


def positions(spatial: Tensor, spectral: Tensor) -> Tensor:
    """(1, T * cells, D): the grid's table repeated for every group, plus the group's position."""
    return spatial.repeat(1, spectral.shape[1], 1) + spectral.repeat_interleave(spatial.shape[1], 1)
