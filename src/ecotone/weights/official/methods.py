"""Which converter and which released bundle belong to an official file."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ecotone.errors import CheckpointError, nearest
from ecotone.methods.released import Released
from ecotone.methods.released import mp_mae as released_mp_mae
from ecotone.methods.released import scale_mae as released_scale_mae
from ecotone.methods.released import spectral_gpt as released_spectral_gpt
from ecotone.weights.official import mp_mae, scale_mae, spectral_gpt
from ecotone.weights.official.base import Converted

CONVERTERS = {"scale-mae": scale_mae.convert, "spectral-gpt": spectral_gpt.convert, "mp-mae": mp_mae.convert}


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
    try:
        converted = CONVERTERS[method](state)
    except (RuntimeError, IndexError, KeyError, ValueError) as error:  # names or shapes of some other model
        raise CheckpointError(f"these are not weights of {method}: {error}", mend="Check --method.") from error
    return converted, _BUNDLES[method](converted)


def _scale_mae(converted: Converted) -> Released:
    return released_scale_mae.RELEASED


def _spectral_gpt(converted: Converted) -> Released:
    """The first stage and the second differ in size, and so in what they have seen."""
    first = released_spectral_gpt.RELEASED
    return first if converted.image_size == first.image_size else released_spectral_gpt.RELEASED_PLUS


def _mp_mae(converted: Converted) -> Released:
    patch, bands = converted.encoder_options["patch"], converted.encoder["initial_conv.0.weight"].shape[1]
    for bundle in released_mp_mae.RELEASED_MODELS.values():
        if (bundle.encoder["patch"], len(bundle.input.optical.bands)) == (patch, bands):
            return bundle
    raise CheckpointError(
        "MP-MAE was not released for these images", found=f"{bands} bands, patch {patch}", expected="12 or 3, 8 or 16"
    )


_BUNDLES = {"scale-mae": _scale_mae, "spectral-gpt": _spectral_gpt, "mp-mae": _mp_mae}
