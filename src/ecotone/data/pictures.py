"""Decoding JPEG, PNG and the like."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PIL

from ecotone.errors import DataError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
RGB = ("red", "green", "blue")
Decoded = tuple[NDArray[Any], tuple[str, ...], NDArray[np.bool_] | None]


def decode_picture(source: Path | bytes, name: str) -> Decoded:
    """Decode one picture.

    Args:
        source: A file, or its content.
        name: What to call it in messages.

    Returns:
        Values (C, H, W), uint8 unless the file stores more; the colour of each channel; and where the picture is
        opaque (H, W), or None if everywhere.

    Raises:
        DataError: The picture is missing, broken or cut short.
    """
    try:
        with PIL.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            mode = picture.mode
            if mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
                values = np.array(picture.convert("RGBA"))
                return _channels_first(values[..., :3]), RGB, values[..., 3] > 0
            if mode in ("L", "1") or mode[0] in "IF":
                return np.array(picture.convert("L") if mode == "1" else picture)[None], ("gray",), None
            return _channels_first(np.array(picture.convert("RGB"))), RGB, None
    except FileNotFoundError as error:
        raise DataError(f"there is no file {name}") from error
    except (OSError, SyntaxError, ValueError, struct.error, PIL.DecompressionBombError) as error:
        reason = str(error).replace(str(source), "the file") if isinstance(source, Path) else str(error)
        raise DataError(f"cannot read the picture {name}", found=reason.split(" <")[0]) from error


def _channels_first(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values.transpose(2, 0, 1))
