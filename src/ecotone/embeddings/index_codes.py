"""Small codes of vectors for a fast first pass: eight and four bits a number, multiplied by numkong's kernels.

A vector is turned by a fixed random rotation and rounded with one scale per row. After the rotation the rounding error
of a row is a direction that has nothing to do with the query, so that its part along the query is about
``norm(error) / sqrt(D)``, whatever the features look like (the argument of RaBitQ, Gao and Long, SIGMOD 2024). Rows
whose rough score comes within four times that of the best ones are compared again exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from ecotone.errors import DataError

LEVELS = 119  # of 127, so that rounding to the upper four bits stays within -7 to 7
SHIFT = 8  # added to four bits, so that they have no sign
SIGMAS = 4.0  # a normal deviate is larger once in thirty thousand


@dataclass(frozen=True)
class Encoded:
    """Codes of n vectors.

    Attributes:
        codes: (n, D') int8, D' being D rounded up to an even number; a turned vector is about ``scale * codes``.
        scale: (n,) float32.
        byte_error: (n,) float32 norm of what the eight bits leave out.
        nibble_error: (n,) float32 norm of what the upper four bits leave out.
    """

    codes: np.ndarray
    scale: np.ndarray
    byte_error: np.ndarray
    nibble_error: np.ndarray

    @property
    def errors(self) -> dict[int, np.ndarray]:
        """By bits."""
        return {8: self.byte_error, 4: self.nibble_error}


def kernels() -> ModuleType:
    """The module with integer products.

    Raises:
        DataError: The extra that brings it is not installed.
    """
    try:
        import numkong
        import usearch  # noqa: F401 the other half of the extra
    except ImportError as error:
        raise DataError(
            "an index needs the packages of the extra 'search'", mend="Install it with: pip install 'ecotone[search]'"
        ) from error
    return numkong


def random_rotation(dimension: int, seed: int = 0) -> np.ndarray:
    """(D, D) float32 orthogonal matrix, uniform over rotations and reflections (QR of a Gaussian matrix)."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(dimension, dimension)))
    return (q * np.sign(np.diag(r))).astype(np.float32)


def encode(vectors: np.ndarray, rotation: np.ndarray) -> Encoded:
    """Turn and round vectors (n, D)."""
    turned = vectors @ rotation.T
    turned = np.pad(turned, ((0, 0), (0, turned.shape[1] % 2)))
    scale = np.abs(turned).max(1) / LEVELS
    scale[scale == 0] = 1
    codes = np.rint(turned / scale[:, None]).astype(np.int8)
    byte_error = _norms(turned - codes * scale[:, None])
    nibble_error = _norms(turned - upper(codes) * (16 * scale[:, None]))
    return Encoded(codes, scale, byte_error, nibble_error)


def upper(codes: np.ndarray) -> np.ndarray:
    """Codes (n, D') rounded to their upper four bits, -7 to 7; they count sixteen times as much."""
    return (codes + np.int8(8)) >> 4


def nibbles(codes: np.ndarray) -> np.ndarray:
    """(n, D'/2) uint8: the upper four bits of the first and the second half of each row, plus eight, two to a byte."""
    high, half = (upper(codes) + np.int8(SHIFT)).view(np.uint8), codes.shape[1] // 2
    return high[:, :half] | (high[:, half:] << 4)


class Plane:
    """Codes of a run of rows at one precision, laid out for products.

    Args:
        codes: (n, D') int8.
        bits: 8, or 4 for the upper four bits. Those are kept without sign, which numkong multiplies faster:
            ``a b = (a + 8)(b + 8) - 8 (a + 8) - 8 (b + 8) + 64``.
    """

    def __init__(self, codes: np.ndarray, bits: int) -> None:
        self.bits = bits
        self._packed = kernels().dots_pack(_tensor(codes, bits))
        self._excess = _excess(codes) if bits == 4 else None

    def products(self, queries: np.ndarray) -> np.ndarray:
        """(q, n) int32 products with query codes (q, D') int8, of the same bits."""
        found = np.asarray(kernels().dots_packed(_tensor(queries, self.bits), self._packed)).view(np.int32)
        if self._excess is not None:
            found -= self._excess
            found -= _excess(queries)[:, None] - SHIFT**2 * queries.shape[1]
        return found


def _tensor(codes: np.ndarray, bits: int) -> Any:
    if bits == 8:
        return np.ascontiguousarray(codes)
    held = nibbles(codes)
    return kernels().from_pointer(held.ctypes.data, held.shape, "uint4", owner=held)


def _excess(codes: np.ndarray) -> np.ndarray:
    """(n,) int32: eight times the sum of the upper bits plus eight."""
    return SHIFT * (upper(codes).sum(1, dtype=np.int32) + np.int32(SHIFT * codes.shape[1]))


def _norms(rows: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("nd,nd->n", rows, rows)).astype(np.float32)


def margin(row_error: float, row_size: float, query_error: float, dimension: int) -> float:
    """By how much a cosine may exceed its rough value.

    Args:
        row_error: Largest error of a row, relative to its norm.
        row_size: Largest norm of a row's code, relative to the row's norm.
        query_error: Error of the query, whose norm is one.
        dimension: D; below about twenty the margin is the strict bound of Cauchy and Schwarz.
    """
    strict = row_error + row_size * query_error
    likely = SIGMAS * np.hypot(row_error, row_size * query_error) / np.sqrt(dimension)
    return float(min(strict, likely)) + 1e-5
