"""Random numbers and smooth noise that are functions of position alone, so that any window can be drawn on its own."""

from __future__ import annotations

from itertools import accumulate
from operator import truediv
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

_LACUNARITY = 2.03  # not a whole number, so that the lattices of the octaves do not line up

# Standard deviation of uniform numbers in [-1, 1] after cubic B-spline interpolation in two dimensions: sqrt(1/3) times
# the mean over positions of the sum of squared weights, 151/315 per axis.
_SPLINE_STD = (1 / 3) ** 0.5 * 151 / 315


def hash32(ix: NDArray, iy: NDArray | int, salt: int) -> NDArray[np.uint32]:
    """Well-mixed 32-bit numbers for integer coordinates of any sign (arrays that broadcast)."""
    # Constants of the "lowbias32" family of integer hashes (C. Wellons, "Prospecting for hash functions", 2018).
    h = np.atleast_1d(ix).astype(np.uint32, copy=False) * np.uint32(0x9E3779B1)
    h = h ^ (np.atleast_1d(iy).astype(np.uint32, copy=False) * np.uint32(0x85EBCA77))
    h += np.uint32((salt * 0xC2B2AE3D + 0x27D4EB2F) & 0xFFFFFFFF)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        h ^= h >> np.uint32(shift)
        h *= np.uint32(factor)
    h ^= h >> np.uint32(16)
    return h


def uniform(ix: NDArray, iy: NDArray | int, salt: int) -> Array:
    """float32 in [0, 1), one per integer coordinate."""
    return (hash32(ix, iy, salt) >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def byte(bits: NDArray[np.uint32], n: int) -> Array:
    """The n-th byte (0 to 3) of each number, as float32 in [0, 1): four cheap random numbers from one hash."""
    return ((bits >> np.uint32(8 * n)) & np.uint32(0xFF)).astype(np.float32) * np.float32(1 / 256)


def spline_weights(positions: Array, first: int, count: int, *, smooth: bool) -> Array:
    """(P, count) weights of lattice points ``first … first + count - 1`` for P positions in lattice units.

    Args:
        positions: (P,) positions.
        first: Index of the first lattice point.
        count: Number of lattice points.
        smooth: Cubic B-spline, which smooths noise; else Catmull-Rom, which passes through the lattice values.
    """
    base = np.floor(positions)
    t = (positions - base).astype(np.float32)
    t2, t3 = t * t, t * t * t
    if smooth:
        taps = ((1 - t) ** 3 / 6, (3 * t3 - 6 * t2 + 4) / 6, (-3 * t3 + 3 * t2 + 3 * t + 1) / 6, t3 / 6)
    else:
        taps = ((-t3 + 2 * t2 - t) / 2, (3 * t3 - 5 * t2 + 2) / 2, (-3 * t3 + 4 * t2 + t) / 2, (t3 - t2) / 2)
    weights = np.zeros(len(positions) * count, np.float32)
    left = np.arange(len(positions)) * count + base.astype(np.int64) - 1 - first
    for k, tap in enumerate(taps):
        weights[left + k] = tap
    return weights.reshape(-1, count)


def ladder(wavelength: float, rungs: int) -> list[float]:
    """Wavelengths in metres, each about half of the one before."""
    return list(accumulate([wavelength, *[_LACUNARITY] * (rungs - 1)], truediv))


class Grid:
    """Smooth noise on a grid of points; the interpolation weights are shared by all noise of one wavelength.

    Args:
        xs: (W,) metres east.
        ys: (H,) metres north.
    """

    def __init__(self, xs: Array, ys: Array) -> None:
        self.xs, self.ys = xs, ys
        self._weights: dict[float, tuple[_Axis, _Axis]] = {}

    def noise(self, wavelength: float, salt: int) -> Array:
        """(H, W) noise of mean 0 and standard deviation 1."""
        if wavelength not in self._weights:
            self._weights[wavelength] = _axis(self.xs / wavelength), _axis(self.ys / wavelength)
        (ix, wx), (iy, wy) = self._weights[wavelength]
        values = (2 * uniform(ix[None, :], iy[:, None], salt) - 1) / np.float32(_SPLINE_STD)
        return (wy @ values) @ wx.T

    def fbm(self, wavelength: float, octaves: int, salt: int) -> Array:
        """(H, W) fractal noise of standard deviation 1: octaves of half the wavelength and half the height each."""
        total = np.zeros((len(self.ys), len(self.xs)), np.float32)
        for k, rung in enumerate(ladder(wavelength, octaves)):
            total += self.noise(rung, salt * 31 + k) * np.float32(0.5**k)
        return total / np.float32(sum(0.25**k for k in range(octaves)) ** 0.5)


_Axis = tuple[NDArray[np.int64], Array]


def _axis(p: Array) -> _Axis:
    """Indices of the lattice points around positions in lattice units, and their weights."""
    lattice = np.arange(int(np.floor(p.min())) - 1, int(np.floor(p.max())) + 3)
    return lattice, spline_weights(p, int(lattice[0]), len(lattice), smooth=True)
