from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import torch.nn.functional as F
from affine import Affine

from ecotone.encoders import Encoder, Features, Readout, build_encoder
from ecotone.inputs import Identity, InputSpec, RoleSpec
from ecotone.weights import Model, save_model
from ecotone.weights.model import Card, EncoderCard

BANDS = ("R", "G", "B")
PLACES = {
    "utm": ("EPSG:32632", Affine(10, 0, 600_000, 0, -10, 5_300_000)),
    "degrees": ("EPSG:4326", Affine(1e-4, 0, 11.5, 0, -1e-4, 48.2)),
}


class Means(Encoder):
    """The mean of each band per patch: every vector can be checked by hand."""

    kind = "means"

    def __init__(self, spec, readout=None, *, patch=8):
        super().__init__(spec, readout)
        self.patch = patch

    @property
    def width(self):
        return len(self.spec.optical.bands)

    def config(self):
        return {"patch": self.patch}

    def forward_intermediates(self, prepared, layers):
        grid = F.avg_pool2d(prepared["optical"].pixels[:, 0], self.patch)
        return Features(maps=[grid], strides=[self.patch], pooled=grid.mean((-2, -1)))

    def forward_features(self, prepared, keep=None):
        return self.forward_intermediates(prepared, (-1,))


def rgb_spec(**role):
    values = {"sensor": "rgb", "bands": BANDS, "unit": "uint8", "normaliser": Identity(), "gsd": (5, 20), **role}
    return InputSpec(roles={"optical": RoleSpec(**values)}, size_multiple=8)


@pytest.fixture
def means():
    """A model of 32-pixel chips whose vectors are band means."""

    def make(patch=8, hash="0123456789abcdef", **role):
        encoder = Means(rgb_spec(**role), patch=patch)
        card = Card(
            name="means",
            encoder=EncoderCard(kind="means", config=encoder.config(), readout=Readout(), image_size=32),
            input=encoder.spec,
        )
        return Model(encoder, card, hash, Path())

    return make


@pytest.fixture
def write_tif(tmp_path):
    """Write pixels (C, H, W) as a GeoTIFF in UTM, in degrees, or without a georeference."""

    def write(pixels, name="scene.tif", place="utm", nodata=None, bands=BANDS):
        georeference = dict(zip(("crs", "transform"), PLACES[place], strict=True)) if place else {}
        profile = {"count": len(pixels), "height": pixels.shape[1], "width": pixels.shape[2], "dtype": pixels.dtype}
        with rasterio.open(tmp_path / name, "w", driver="GTiff", nodata=nodata, **profile, **georeference) as file:
            file.write(pixels)
            file.descriptions = bands
        return tmp_path / name

    return write


@pytest.fixture
def scene():
    """(3, 80, 100) uint8 without zeros; every pixel differs from its neighbours."""
    return np.random.default_rng(0).integers(1, 255, (3, 80, 100), dtype=np.uint8)


@pytest.fixture
def vit_folder(tmp_path):
    """A model folder with a small vision transformer for RGB."""

    def save(name="model", seed=0):
        torch.manual_seed(seed)
        encoder = build_encoder("vit", rgb_spec(), None, {"patch": 8, "width": 16, "depth": 1, "heads": 2})
        return save_model(encoder, tmp_path / name, name="tiny", image_size=32)

    return save
