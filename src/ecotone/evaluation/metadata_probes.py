"""Floors that never look at a pixel: what the place of an image, or its GSD, gives away about its label."""

from __future__ import annotations

import torch
from torch import Tensor

from ecotone.samples import Batch, Place

LOCATION, GSD_ONLY = "location only", "GSD only"
RADIUS_KM = 6371.0
LENGTHS_KM = (1000.0, 100.0, 10.0)  # a continent's regions, a landscape, a town


class LocationProbe:
    """Places on the unit sphere, and random Fourier features of them (Rahimi and Recht, NIPS 2007).

    Inner products of the features of one length approximate a Gaussian kernel of that length, so that a linear probe
    can draw regions and kNN finds what is near. An image without a place lies at the centre of the Earth.

    Args:
        seed: Of the frequencies.
        features: For each length.
    """

    def __init__(self, seed: int = 0, features: int = 128) -> None:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(len(LENGTHS_KM), 3, features, generator=generator, dtype=torch.float64)
        self.frequencies = torch.cat([d * RADIUS_KM / km for d, km in zip(drawn, LENGTHS_KM, strict=True)], 1)
        self.phases = torch.rand(self.frequencies.shape[1], generator=generator, dtype=torch.float64) * 2 * torch.pi

    def __call__(self, batch: Batch) -> Tensor:
        """(N, 3 + lengths * features) float32."""
        places = on_sphere(batch.places or (None,) * len(batch))
        return torch.cat([places, torch.cos(places @ self.frequencies + self.phases)], 1).float()


def on_sphere(places: tuple[Place | None, ...]) -> Tensor:
    """(N, 3) float64 points on the unit sphere; zeros where the place is unknown."""
    degrees = torch.tensor([(p.lon, p.lat) if p else (0.0, 0.0) for p in places], dtype=torch.float64)
    known = torch.tensor([p is not None for p in places])
    lon, lat = degrees.deg2rad().T
    points = torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], 1)
    return points * known[:, None]


def gsd_features(batch: Batch) -> Tensor:
    """(N, 2 * roles): the logarithm of each image's metres per pixel, and whether they are known."""
    metres = torch.stack([image.gsd for image in batch.images.values()], 1)
    known = metres.isfinite()
    return torch.cat([torch.where(known, metres, 1.0).log(), known.float()], 1)
