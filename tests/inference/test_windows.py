from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ecotone.inference.windows import read_windows
from ecotone.rasters import open_raster
from ecotone.rasters.tiling import Tiling


class Recording:
    """A raster that remembers which rows were read."""

    def __init__(self, raster):
        self.raster, self.reads = raster, []

    def __getattr__(self, name):
        return getattr(self.raster, name)

    def read_rows(self, start, stop, out):
        self.reads.append((start, stop))
        return self.raster.read_rows(start, stop, out)


def test_every_row_is_read_once_and_no_read_is_taller_than_a_window_and_a_block(write_tif, scene):
    raster: Any = Recording(open_raster(write_tif(np.tile(scene, (1, 5, 3))), sensor="rgb"))
    for snap in (1, 8, 24):
        raster.reads.clear()
        windows = list(read_windows({"optical": raster}, Tiling(raster.shape, 32, 24, snap=snap), 4))
        assert sum(len(w.worth) for w in windows) == 17 * 13
        assert raster.reads[0][0] == 0 and raster.reads[-1][1] == 400
        assert all(a[1] == b[0] for a, b in zip(raster.reads, raster.reads[1:], strict=False))
        assert max(b - a for a, b in raster.reads) <= 32 + raster.block_rows < 400


@pytest.mark.parametrize("shape", [(80, 100), (32, 40), (20, 100), (80, 7)])
@pytest.mark.parametrize("snap", [1, 8, 24])
def test_windows_hold_the_pixels_of_their_place_and_know_what_lies_beyond_the_edge(write_tif, scene, shape, snap):
    scene = scene[:, : shape[0], : shape[1]].copy()
    scene[:, 5:9, :3] = 0
    padded = np.zeros((3, 160, 160), np.uint8)
    padded[:, : shape[0], : shape[1]] = scene
    raster, tiling = open_raster(write_tif(scene, nodata=0), sensor="rgb"), Tiling(shape, 32, 24, snap=snap)
    for first in (0, len(tiling) // 2):
        number = first
        for windows in read_windows({"optical": raster}, tiling, 5, first, least=0.2):
            assert windows.start == number
            seen = windows.seen
            for i, (share, worth) in enumerate(zip(windows.share, windows.worth, strict=True)):
                row, col = divmod(number + i, len(tiling.cols))
                part = padded[:, tiling.rows[row] : tiling.rows[row] + 32, tiling.cols[col] : tiling.cols[col] + 32]
                observed = (part > 0).any(0)
                assert share == observed.mean() and worth == (share >= 0.2)
                if worth:
                    n = int(windows.worth[:i].sum())
                    assert np.array_equal(windows.pixels["optical"][n], part)
                    assert np.array_equal(observed, np.ones((32, 32), bool) if seen is None else seen[n])
            number = windows.stop
        assert number == len(tiling)
