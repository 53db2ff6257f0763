"""What a model is told of rasters beyond their pixels: their roles and their GSD."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Literal

from ecotone.errors import InputError
from ecotone.inputs import GSD_SLACK, InputSpec, RoleSpec
from ecotone.rasters import Raster


class AssumedGsdWarning(UserWarning):
    """A model was told the GSD it was trained for, because the raster does not say its own."""


def by_role(spec: InputSpec, given: Raster | Mapping[str, Raster]) -> dict[str, Raster]:
    """The rasters that a model takes, in the order of its roles.

    Raises:
        InputError: A role has no raster, or a raster no role.
    """
    if not isinstance(given, Mapping):
        check_single(spec)
        return dict.fromkeys(spec.roles, given)
    if set(given) != set(spec.roles):
        raise InputError(
            "the model takes one raster for each of its roles",
            found=", ".join(given),
            expected=", ".join(spec.roles),
            mend="On the command line: --with ROLE=PATH for each but the first.",
        )
    return {role: given[role] for role in spec.roles}


def check_single(spec: InputSpec) -> None:
    """Check that a model takes one image.

    Raises:
        InputError: It takes several.
    """
    if len(spec.roles) > 1:
        raise InputError(
            "a single raster cannot feed this model",
            found="one raster",
            expected=f"the roles {', '.join(spec.roles)}",
            mend="ecotone embed and predict take the others of a scene: --with ROLE=PATH.",
        )


def wanted_gsd(role: RoleSpec, raster: Raster, wanted: float | Literal["model"] | None) -> float | None:
    """The metres per pixel to resample to; ``model`` means the nearest that the model was trained for.

    Returns:
        None where the raster stays as it is.
    """
    if wanted != "model":
        return wanted
    if role.gsd is None or raster.gsd is None:
        return None
    low, high = role.gsd
    inside = low * (1 - GSD_SLACK) <= raster.gsd <= high * (1 + GSD_SLACK)
    return None if inside else min(max(raster.gsd, low), high)


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
