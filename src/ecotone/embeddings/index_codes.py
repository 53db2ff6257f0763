"""Small codes of vectors for a fast first pass: eight bits a number, multiplied by numkong's kernels.

A vector is turned so that its first numbers, its head, hold nearly all that varies, and rounded with one scale per row.
A first pass reads heads alone. What the rest could add to a cosine is at most the product of the two norms of the rest
(Cauchy and Schwarz), which are kept. Within the head and within the rest the turn is random, so that what rounding
leaves out has nothing to do with the query, whatever the features look like (the argument of RaBitQ, Gao and Long,
SIGMOD 2024): along a query of length one it deviates by ``scale / sqrt(12)``, as numbers do that are rounded to whole
ones. Rows that may be among the best by the first pass are compared again with all eight-bit numbers, and what is left
exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np
from scipy.linalg import block_diag

from ecotone.errors import DataError

LEVELS = 127
SIGMAS = 4.0  # a normal deviate is larger once in thirty thousand
REST = 0.1  # most of the squared length of rows, on average, that a head may leave out
STEP = 16  # numbers that the kernels multiply at a time


@dataclass(frozen=True)
class Encoded:
    """Codes of n vectors.

    Attributes:
        codes: (n, D) int8; a turned vector is about ``scale * codes``.
        scale: (n,) float32.
        rest: (n,) float32 norm of what follows the head.
    """

    codes: np.ndarray
    scale: np.ndarray
    rest: np.ndarray


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


def turned_to_head(directions: np.ndarray) -> tuple[np.ndarray, int]:
    """A rotation that gathers what varies in the first numbers, and how many of these make the head.

    Args:
        directions: (m, D) of unit length, or zero.

    Returns:
        (D, D) float32 orthogonal: principal axes by falling strength, turned at random within the head and within the
        rest. Then the length of the head: as short as ``REST`` allows; D if that is more than half.
    """
    strengths, axes = np.linalg.eigh(directions.T @ directions)
    kept = np.cumsum(strengths[::-1]) / max(float(strengths.sum()), 1e-12)
    width = len(axes)
    head = STEP * (int(np.searchsorted(kept, 1 - REST)) // STEP + 1)
    head = head if head <= width / 2 else width
    turn = block_diag(random_rotation(head), random_rotation(width - head))
    return (turn @ axes[:, ::-1].T).astype(np.float32), head


def random_rotation(dimension: int) -> np.ndarray:
    """(D, D) orthogonal matrix, the same each time: uniform over them (QR of a Gaussian matrix)."""
    # The seed is not 0: rows that were drawn with it as well would not be random to this matrix.
    q, r = np.linalg.qr(np.random.default_rng(20_180_618).normal(size=(dimension, dimension)))
    return q * np.sign(np.diag(r))


def encode(vectors: np.ndarray, rotation: np.ndarray, head: int) -> Encoded:
    """Turn and round vectors (n, D)."""
    turned = vectors @ rotation.T
    scale = np.abs(turned).max(1) / LEVELS
    scale[scale == 0] = 1
    codes = np.rint(turned / scale[:, None]).astype(np.int8)
    return Encoded(codes, scale, np.linalg.norm(turned[:, head:], axis=1))


class Plane:
    """Codes of a run of rows, laid out for products.

    Args:
        codes: (n, d) int8.
    """

    def __init__(self, codes: np.ndarray) -> None:
        self._packed = kernels().dots_pack(np.ascontiguousarray(codes))

    def products(self, queries: np.ndarray) -> np.ndarray:
        """(q, n) int32 products with query codes (q, d) int8."""
        return np.asarray(kernels().dots_packed(np.ascontiguousarray(queries), self._packed))


def margin(row_scale: float, row_size: float, query_scale: float) -> float:
    """By how much a cosine may exceed its rough value for rounding, once in thirty thousand times.

    Args:
        row_scale: Largest scale of a row, relative to its norm.
        row_size: Largest norm of a row's code, relative to the row's norm.
        query_scale: That of the query, whose norm is one.
    """
    return float(SIGMAS * (row_scale + row_size * query_scale) / np.sqrt(12)) + 1e-5
