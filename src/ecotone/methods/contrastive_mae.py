"""Contrastive MAE: masked autoencoding of two crops of each image, and agreement between them.

Mishra, Robinson et al., "A simple, efficient and scalable contrastive masked autoencoder for learning visual
representations" (CAN), 2022, without its noise prediction. The contrast is SimCLR's (Chen et al., ICML 2020).
Hidden patches make the second view affordable: the encoder sees half the tokens that an unmasked one would see of one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecotone.encoders import ViT
from ecotone.methods.mae import MAE
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch
from ecotone.transforms import Flip, QuarterTurn, RandomResizedCrop


class ContrastiveMAE(MAE):
    """MAE on two crops, and InfoNCE between the mean visible tokens of both.

    The method crops by itself, because the two views must come from one image: give it whole images.

    Args:
        encoder: A ViT.
        size: Side of both views in pixels.
        scale: Smallest and largest area of a crop, as fractions of the image.
        jitter: Standard deviation, in normalised units, of a random gain and of a random offset of each band in each
            view, so that colour alone does not tell images apart.
        weight: Weight of the contrast beside the pixels.
        temperature: Softness of the contrast.
        projection: Hidden and output width of the projector that the contrast is computed behind.
        mae: Options of MAE.
    """

    kind = "contrastive-mae"

    def __init__(
        self,
        encoder: ViT,
        *,
        size: int = 224,
        scale: tuple[float, float] = (0.2, 1.0),
        jitter: float = 0.2,
        weight: float = 0.3,
        temperature: float = 0.2,
        projection: tuple[int, int] = (512, 128),
        **mae: Any,
    ) -> None:
        super().__init__(encoder, **mae)
        (smallest, largest), (hidden, out) = scale, projection
        self.size, self.scale, self.jitter = size, (smallest, largest), jitter
        self.weight, self.temperature, self.projection = weight, temperature, (hidden, out)
        self.crop = RandomResizedCrop(size=size, scale=self.scale)
        self.projector = nn.Sequential(
            nn.Linear(encoder.width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out)
        )

    def config(self) -> dict[str, Any]:
        names = ("size", "scale", "jitter", "weight", "temperature", "projection")
        own = {n: getattr(self, n) for n in names}
        return {**super().config(), **{k: list(v) if isinstance(v, tuple) else v for k, v in own.items()}}

    def input_size(self, size: int) -> int:
        return self.size

    def forward(self, batch: Batch, random: SampleRandom) -> dict[str, Tensor]:
        pixels, embeddings = zip(*(self._view(batch, random) for _ in range(2)), strict=True)
        mean = (pixels[0] + pixels[1]) / 2
        contrast = info_nce(embeddings[0], embeddings[1], self.temperature)
        return {"pixels": mean, "contrast": contrast, "total": mean + self.weight * contrast}

    def _view(self, batch: Batch, random: SampleRandom) -> tuple[Tensor, Tensor]:
        """Pixel loss and projected embedding (N, projection) of one random view."""
        view = QuarterTurn()(Flip()(self.crop(batch, random), random), random)
        prepared = self.encoder.spec.prepare(view)
        role, image = next(iter(prepared.images.items()))
        image = replace(image, pixels=self._jitter(image.pixels, random))
        mask = self.mask(image, random)
        features = self.encoder.forward_features(prepared.replace_images(**{role: image}), mask.keep)
        assert features.tokens is not None  # a ViT always has tokens
        loss = self.losses(image, mask, self.decode(features, image, mask))["total"]
        return loss, self.projector(features.tokens.mean(1))

    def _jitter(self, pixels: Tensor, random: SampleRandom) -> Tensor:
        n, _, channels = pixels.shape[:3]
        gain, offset = normal(random, 1), normal(random, channels)
        return pixels * (1 + self.jitter * gain.view(n, 1, 1, 1, 1)) + self.jitter * offset.view(n, 1, channels, 1, 1)


def info_nce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """SimCLR's loss (NT-Xent): each of 2N embeddings (N, D) finds its partner among the 2N - 1 others."""
    both = F.normalize(torch.cat([a, b]).float(), dim=1)
    similarity = both @ both.T / temperature
    similarity.fill_diagonal_(float("-inf"))
    partner = torch.arange(len(both), device=both.device).roll(len(a))
    return F.cross_entropy(similarity, partner)


def normal(random: SampleRandom, *shape: int) -> Tensor:
    """(N, *shape) standard normal numbers from each sample's stream (Box and Muller 1958)."""
    radius, angle = random.uniform(2, *shape).unbind(1)
    return (-2 * (1 - radius).log()).sqrt() * (2 * torch.pi * angle).cos()
