"""How people divide the land: regions bounded by roads, each cut into parcels along its own direction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecotone.data.synthetic.noise import Array, byte, hash32, uniform

REGION_M = 1500.0
SHADOW = (-0.6, 0.8)  # east, north: at half past ten, when Sentinel-2 passes, shadows fall to the north-west
_JITTER = 0.5  # of a parcel's length, by which its borders move


@dataclass(frozen=True)
class Layout:
    """Regions and parcels on a grid of points.

    Attributes:
        u: (H, W) metres along the region's direction.
        v: (H, W) metres across it.
        road: (H, W) metres to the nearest region border.
        parcel: (H, W) index into the parcel tables.
        along: (H, W) metres from the parcel's lower border in u.
        across: (H, W) metres from the parcel's lower border in v.
        edge: (H, W) metres to the nearest border of the parcel.
        shadow_u: (H, W) part along u of the unit vector in which shadows fall.
        shadow_v: (H, W) its part along v.
        identity: (P,) random bits of every parcel, the same in every window.
        centre: Two arrays (P,): metres east and north of every parcel's middle.
    """

    u: Array
    v: Array
    road: Array
    parcel: NDArray[np.int64]
    along: Array
    across: Array
    edge: Array
    shadow_u: Array
    shadow_v: Array
    identity: NDArray[np.uint32]
    centre: tuple[Array, Array]


@dataclass(frozen=True)
class _Sites:
    """K regions that may own points of the window: middle, random bits, direction and mean parcel size."""

    x: Array
    y: Array
    bits: NDArray[np.uint32]

    @property
    def turn(self) -> tuple[Array, Array]:
        angle = byte(self.bits, 0) * np.float32(np.pi)
        return np.cos(angle), np.sin(angle)

    @property
    def pitch(self) -> tuple[Array, Array]:
        return 95 + 115 * byte(self.bits, 1), 130 + 170 * byte(self.bits, 2)


def lay_out(seed: int, xs: Array, ys: Array, warp_x: Array, warp_y: Array) -> Layout:
    """Regions and parcels of a grid of points, given in metres east and north."""
    # Float32 holds metres from a nearby point to a tenth of a millimetre.
    sites = _sites(
        seed,
        (float(xs.min() + warp_x.min()), float(xs.max() + warp_x.max())),
        (float(ys.min() + warp_y.min()), float(ys.max() + warp_y.max())),
    )
    region, road = _nearest(sites, xs, ys, warp_x, warp_y)
    dx = (xs[None, :] - sites.x[region]).astype(np.float32) + warp_x
    dy = (ys[:, None] - sites.y[region]).astype(np.float32) + warp_y
    cos, sin = sites.turn
    u = cos[region] * dx + sin[region] * dy
    v = cos[region] * dy - sin[region] * dx
    return _parcels(sites, region, u, v, road)


def _sites(seed: int, east_west: tuple[float, float], south_north: tuple[float, float]) -> _Sites:
    """The sites that can be nearest to some point between these bounds in metres."""
    (west, east), (south, north) = east_west, south_north
    ix = np.arange(int(west // REGION_M) - 2, int(east // REGION_M) + 3)
    iy = np.arange(int(south // REGION_M) - 2, int(north // REGION_M) + 3)
    gx, gy = (a.ravel() for a in np.meshgrid(ix, iy))
    x = (gx + 0.1 + 0.8 * uniform(gx, gy, seed * 1009 + 21)) * REGION_M
    y = (gy + 0.1 + 0.8 * uniform(gx, gy, seed * 1009 + 22)) * REGION_M
    near = np.hypot(np.maximum(0, np.maximum(west - x, x - east)), np.maximum(0, np.maximum(south - y, y - north)))
    far = np.hypot(np.maximum(abs(x - west), abs(x - east)), np.maximum(abs(y - south), abs(y - north)))
    # The second nearest site is needed too, for the distance to the border.
    keep = near <= np.partition(far, 1)[1]
    return _Sites(x[keep], y[keep], hash32(gx, gy, seed * 1009 + 23)[keep])


def _nearest(sites: _Sites, xs: Array, ys: Array, warp_x: Array, warp_y: Array) -> tuple[NDArray[np.int64], Array]:
    """(H, W) index of the nearest site, and metres to the bisector with the second nearest."""
    # d² = |p|² - 2 (p·s - |s|²/2): comparing the brackets spares the squares.
    x0, y0 = xs.mean(), ys.mean()
    x, y = (xs - x0).astype(np.float32) + warp_x, (ys - y0).astype(np.float32)[:, None] + warp_y
    best, second = np.full_like(x, -np.inf), np.full_like(x, -np.inf)
    first, other = np.zeros(x.shape, np.uint16), np.zeros(x.shape, np.uint16)
    for k, (sx, sy) in enumerate(zip(sites.x - x0, sites.y - y0, strict=True)):
        bracket = x * np.float32(sx) + (y * np.float32(sy) - np.float32((sx * sx + sy * sy) / 2))
        closer = bracket > best
        runner_up = ~closer & (bracket > second)
        np.copyto(second, best, where=closer)
        np.copyto(other, first, where=closer)
        np.copyto(second, bracket, where=runner_up)
        np.copyto(other, np.uint16(k), where=runner_up)
        np.copyto(best, bracket, where=closer)
        np.copyto(first, np.uint16(k), where=closer)
    apart = np.hypot(sites.x[:, None] - sites.x, sites.y[:, None] - sites.y).astype(np.float32) + np.float32(1e-3)
    region = first.astype(np.int64)
    return region, (best - second) / apart.ravel()[region * len(apart) + other]


def _parcels(sites: _Sites, region: NDArray[np.int64], u: Array, v: Array, road: Array) -> Layout:
    """Cut every region into strips along u, and every strip into parcels along v."""
    pitch_u, pitch_v = sites.pitch
    i, i0, n_i = _cell(u / pitch_u[region])
    strips = np.arange(i0, i0 + n_i)
    borders_u = (strips + _JITTER * uniform(strips, sites.bits[:, None], 31)) * pitch_u[:, None]  # (K, n_i)
    strip, low_u, high_u = _settle(u, borders_u.ravel(), region * n_i + i)

    pitch_v = np.repeat(pitch_v, n_i) * (0.75 + 0.5 * uniform(strips, sites.bits[:, None], 32)).ravel()  # (K n_i,)
    bits = hash32(strips, sites.bits[:, None], 33).ravel()
    j, j0, n_j = _cell(v / pitch_v[strip])
    steps = np.arange(j0, j0 + n_j)
    borders_v = (steps + _JITTER * uniform(steps, bits[:, None], 34)) * pitch_v[:, None]
    parcel, low_v, high_v = _settle(v, borders_v.ravel(), strip * n_j + j)

    edge = np.minimum(np.minimum(u - low_u, high_u - u), np.minimum(v - low_v, high_v - v))
    middle_u = np.repeat((borders_u + np.roll(borders_u, -1, 1)).ravel() / 2, n_j)
    middle_v = ((borders_v + np.roll(borders_v, -1, 1)) / 2).ravel()
    k = np.repeat(np.arange(len(sites.x)), n_i * n_j)
    cos, sin = sites.turn
    centre = (
        sites.x[k] + cos[k] * middle_u - sin[k] * middle_v,
        sites.y[k] + sin[k] * middle_u + cos[k] * middle_v,
    )
    return Layout(
        u=u,
        v=v,
        road=road,
        parcel=parcel,
        along=u - low_u,
        across=v - low_v,
        edge=np.minimum(edge, road),
        shadow_u=(cos * SHADOW[0] + sin * SHADOW[1]).astype(np.float32)[region],
        shadow_v=(cos * SHADOW[1] - sin * SHADOW[0]).astype(np.float32)[region],
        identity=hash32(steps, bits[:, None], 35).ravel(),
        centre=centre,
    )


def _cell(position: Array) -> tuple[NDArray[np.int64], int, int]:
    """Whole part of positions as an index into a table that has room on both sides; its first step and length."""
    whole = np.floor(position).astype(np.int64)
    first = int(whole.min()) - 1
    return whole - first, first, int(whole.max()) - first + 3


def _settle(position: Array, borders: NDArray, cell: NDArray[np.int64]) -> tuple[NDArray[np.int64], Array, Array]:
    """Borders only move up from their step, so that a point lies in its own cell or in the one before."""
    borders = borders.astype(np.float32)
    cell = cell - (position < borders[cell])
    return cell, borders[cell], borders[cell + 1]
