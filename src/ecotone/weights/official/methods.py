"""Which converter and which released bundle belong to an official file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from ecotone.errors import CheckpointError, nearest
from ecotone.methods.released import Released
from ecotone.methods.released import scale_mae as released_scale_mae
from ecotone.methods.released import spectral_gpt as released_spectral_gpt
from ecotone.weights.official import scale_mae, spectral_gpt
from ecotone.weights.official.base import Converted

CONVERTERS = {"scale-mae": scale_mae.convert, "spectral-gpt": spectral_gpt.convert}


def convert(method: str, state: Mapping[str, Tensor]) -> tuple[Converted, Released]:
    """Official weights under our names, and the bundle that they are used with.

    Args:
        method: Kind of the method.
        state: Official names.

    Raises:
        CheckpointError: No such method, or the weights are not of it.
    """
    if method not in CONVERTERS:
        raise CheckpointError(f"there are no official weights of {method!r}", mend=nearest(method, CONVERTERS))
    converted = CONVERTERS[method](state)
    return converted, _released(method, converted)


def _released(method: str, converted: Converted) -> Released:
    if method == "scale-mae":
        return released_scale_mae.RELEASED
    small = converted.image_size == released_spectral_gpt.RELEASED.image_size
    bundle = released_spectral_gpt.RELEASED if small else released_spectral_gpt.RELEASED_PLUS
    return replace(bundle, image_size=converted.image_size or bundle.image_size)
