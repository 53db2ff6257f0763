"""Floors: what no pretraining reaches. They see the very images, at the same scale, that the encoder sees."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ecotone.encoders import Encoder
from ecotone.errors import DataError
from ecotone.samples import Batch

STATISTICS, CHANCE = "image statistics", "chance"
RANDOM_CONVOLUTIONS, RANDOM_INIT = "random convolutions 4x4 + ZCA", "random init"


def raw_pixels(batch: Batch) -> Tensor:
    """(N, T*C, H, W) float32 of all roles in the unit of the dataset; unobserved pixels take their band's mean."""
    planes = []
    for image in batch.images.values():
        pixels = image.pixels.float()
        seen = torch.isfinite(pixels)
        if image.valid is not None:
            seen = seen & image.valid.unsqueeze(2)
        zeroed = torch.where(seen, pixels, 0.0)
        mean = zeroed.sum((-2, -1), keepdim=True) / seen.sum((-2, -1), keepdim=True).clamp_min(1)
        planes.append(torch.where(seen, pixels, mean).flatten(1, 2))
    return torch.cat(planes, 1)


def image_statistics(batch: Batch) -> Tensor:
    """(N, 4C): mean, standard deviation, minimum and maximum of each band (Corley et al., arXiv 2305.13456)."""
    flat = raw_pixels(batch).flatten(2)
    return torch.cat([flat.mean(2), flat.std(2, correction=0), flat.amin(2), flat.amax(2)], 1)


class RandomConvolutions:
    """Random training patches, whitened, as filters; rectified both ways and averaged over the image.

    MOSAIKS (Rolf et al., Nature Communications 2021) with the ZCA whitening of Coates and Ng (2012).

    Args:
        images: (M, C, H, W) train images in the dataset's unit, at the scale of the train features.
        seed: Of the patches.
        filters: Patches used as filters; each gives two features.
        patch: Side of a patch in pixels.
    """

    def __init__(self, images: Tensor, *, seed: int = 0, filters: int = 256, patch: int = 4) -> None:
        if min(images.shape[-2:]) < patch:
            raise DataError("the images are smaller than a patch", found=tuple(images.shape[-2:]), expected=patch)
        self.mean = images.mean((0, 2, 3), keepdim=True)
        std = images.std((0, 2, 3), keepdim=True)
        self.std = torch.where(std > 1e-8, std, 1.0)
        patches = self._draw((images - self.mean) / self.std, seed, patch)
        centre = patches.mean(0)
        whiten = _zca(patches - centre)
        weight = F.normalize((patches[:filters] - centre) @ whiten, dim=1) @ whiten
        self.bias = -(weight @ centre)
        # channels_last makes convolution on the CPU about a third faster.
        weight = weight.view(-1, images.shape[1], patch, patch)
        self.weight = weight.contiguous(memory_format=torch.channels_last)

    def __call__(self, batch: Batch) -> Tensor:
        """(N, 2 * filters) float32."""
        pixels = ((raw_pixels(batch) - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        # Every second position: a quarter of the work, and scores within noise of all positions.
        stride = 2 if min(pixels.shape[-2:]) >= 32 else 1
        block = max(1, 2**24 * stride**2 // (len(self.weight) * pixels[0, 0].numel()))  # 64 MiB of responses
        return torch.cat([self._respond(part, stride) for part in pixels.split(block)])

    def _respond(self, pixels: Tensor, stride: int) -> Tensor:
        found = F.conv2d(pixels, self.weight, self.bias, stride=stride)
        mean, positive = found.mean((2, 3)), found.relu_().mean((2, 3))
        return torch.cat([positive, positive - mean], 1)  # mean(relu(-x)) = mean(relu(x)) - mean(x)

    @staticmethod
    def _draw(images: Tensor, seed: int, patch: int, count: int = 20_000) -> Tensor:
        """(count, C * patch * patch) patches at random places of random images."""
        generator = torch.Generator().manual_seed(seed)
        m, _, height, width = images.shape
        which = torch.randint(m, (count, 1, 1), generator=generator)
        top = torch.randint(height - patch + 1, (count, 1, 1), generator=generator)
        left = torch.randint(width - patch + 1, (count, 1, 1), generator=generator)
        offset = torch.arange(patch)
        # Advanced indices around a slice put the channels last: (count, patch, patch, C).
        found = images[which, :, top + offset[:, None], left + offset]
        return found.permute(0, 3, 1, 2).flatten(1)


def _zca(patches: Tensor) -> Tensor:
    """(D, D) whitening matrix of centred patches (n, D); a share of the mean variance keeps noise from blowing up."""
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    scale = (values.clamp_min(0) + 1e-2 * values.mean()).rsqrt()
    return vectors @ (scale[:, None] * vectors.T)


def random_init(encoder: Encoder, seed: int) -> Encoder:
    """The same architecture, input and readout, with fresh random weights from this seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = type(encoder)(encoder.spec, encoder.readout, **encoder.config())
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    return fresh.to(device).eval()
