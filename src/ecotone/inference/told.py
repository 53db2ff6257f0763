"""What a model is told of a raster beyond its pixels: its role and its GSD."""

from __future__ import annotations

import math
import warnings
from typing import Literal

from ecotone.errors import InputError
from ecotone.inputs import GSD_SLACK, InputSpec, RoleSpec
from ecotone.rasters import Raster, at_gsd


class AssumedGsdWarning(UserWarning):
    """A model was told the GSD it was trained for, because the raster does not say its own."""


def only_role(spec: InputSpec) -> str:
    """The role of a model that takes one image.

    Raises:
        InputError: It takes several.
    """
    if len(spec.roles) > 1:
        raise InputError(
            "a single raster cannot feed this model", found="one raster", expected=f"the roles {', '.join(spec.roles)}"
        )
    return next(iter(spec.roles))


def resampled_for(role: RoleSpec, raster: Raster, wanted: float | Literal["model"] | None) -> Raster:
    """The raster at the wanted metres per pixel; ``model`` means the nearest that the model was trained for.

    Raises:
        DataError: The raster does not say its GSD.
    """
    if wanted == "model" and role.gsd and raster.gsd:
        low, high = role.gsd
        inside = low * (1 - GSD_SLACK) <= raster.gsd <= high * (1 + GSD_SLACK)
        wanted = None if inside else min(max(raster.gsd, low), high)
    return at_gsd(raster, wanted) if isinstance(wanted, float | int) else raster


def told_gsd(role: RoleSpec, raster: Raster) -> tuple[float | None, str]:
    """Metres per pixel that a model is told, and where the number comes from.

    Where the raster does not say, it is the middle of the range that the model was trained for, with a warning.

    Returns:
        The source is that of the raster, ``assumed``, or ``unknown`` with None.
    """
    if raster.gsd is not None:
        return raster.gsd, raster.gsd_source
    if role.gsd is None:
        return None, "unknown"
    gsd = math.sqrt(role.gsd[0] * role.gsd[1])
    warnings.warn(
        f"{raster.paths[0]} does not say its GSD: {gsd:g} m per pixel is ASSUMED, because the model was "
        f"trained for {role.gsd[0]:g} to {role.gsd[1]:g} m. Give --gsd if you know it.",
        AssumedGsdWarning,
        stacklevel=4,
    )
    return gsd, "assumed"
