"""How vectors are stored in fewer bytes, and what that costs."""

from __future__ import annotations

import numpy as np

from ecotone.embeddings.schema import Dtype
from ecotone.errors import DataError

LEVELS = 127  # of int8 on either side of zero; -128 is left out, so that the code is symmetric
LARGEST_HALF = float(np.finfo(np.float16).max)


def quantise(vectors: np.ndarray, dtype: Dtype) -> tuple[np.ndarray, np.ndarray | None]:
    """Vectors as they are stored.

    ``int8`` is symmetric with one scale per row: ``scale = max|v| / 127``, ``stored = round(v / scale)``, so that no
    number is off by more than half a scale. A row of zeros has scale 0.

    Args:
        vectors: (n, D) float32, finite.
        dtype: ``float32``, ``float16`` or ``int8``.

    Returns:
        (n, D) of that type, and (n,) float32 scales of ``int8``.

    Raises:
        DataError: A value is too large for ``float16``.
    """
    if dtype == "float32":
        return vectors.astype(np.float32, copy=False), None
    if dtype == "float16":
        largest = float(np.abs(vectors).max(initial=0))
        if largest > LARGEST_HALF:
            raise DataError(
                "the vectors do not fit into float16",
                found=f"a value of {largest:g}",
                expected=f"at most {LARGEST_HALF:g}",
                mend="Store them as float32 or int8.",
            )
        return vectors.astype(np.float16), None
    scale = (np.abs(vectors).max(1, initial=0) / np.float32(LEVELS)).astype(np.float32)
    # The scale of a row of the smallest numbers may itself round to zero or down: the codes are kept in range.
    ratio = np.divide(vectors, scale[:, None], out=np.zeros(vectors.shape, np.float32), where=scale[:, None] > 0)
    return np.clip(np.rint(ratio), -LEVELS, LEVELS).astype(np.int8), scale


def dequantise(stored: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
    """(n, D) float32 vectors from what ``quantise`` gave."""
    vectors = stored.astype(np.float32, copy=False)
    return vectors if scale is None else vectors * scale[:, None]
