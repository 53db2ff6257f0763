from __future__ import annotations

import numpy as np
import torch

from ecotone.embeddings.footprints import CellGrid
from ecotone.inference.windows import read_chips
from ecotone.rasters import open_raster


class Recording:
    """A raster that remembers what was read."""

    def __init__(self, raster):
        self.raster, self.windows = raster, []

    def __getattr__(self, name):
        return getattr(self.raster, name)

    def read(self, window=None):
        assert window is not None, "the whole scene was read"
        self.windows.append(window)
        return self.raster.read(window)


def test_no_read_is_larger_than_a_run_of_windows_and_the_scene_is_read_once(write_tif, scene):
    raster = Recording(open_raster(write_tif(np.tile(scene, (1, 3, 3))), sensor="rgb"))
    chips = list(read_chips(raster, CellGrid(raster.shape, 32, 32), run=4))
    assert len(chips) == 8 * 10
    assert max(h * w for _, _, h, w in raster.windows) <= 32 * 32 * 4
    assert sum(h * w for _, _, h, w in raster.windows) == 80 * 32 * 32


def test_chips_hold_the_pixels_of_their_place_and_mark_what_lies_beyond_the_edge(write_tif, scene):
    raster = open_raster(write_tif(scene), sensor="rgb")
    padded = np.zeros((3, 128, 160), np.uint8)
    padded[:, :80, :100] = scene
    for overlap in (0, 8):
        for chip in read_chips(raster, CellGrid(raster.shape, 32, 32 - overlap), run=3):
            part = (slice(chip.row, chip.row + 32), slice(chip.col, chip.col + 32))
            inside = np.zeros((128, 160), bool)
            inside[:80, :100] = True
            assert np.array_equal(chip.valid.numpy(), inside[part])
            assert torch.equal(chip.image.pixels[0], torch.from_numpy(padded[:, *part]))
