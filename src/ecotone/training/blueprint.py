"""What a recipe would build, without its data and without allocating a single weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch

from ecotone.data import Dataset, DatasetInfo
from ecotone.data.catalog.mmearth_layout import LAYERS
from ecotone.encoders import build_encoder, encoder_class
from ecotone.inputs import Identity, InputSpec, RoleSpec
from ecotone.methods import build_method, method_class
from ecotone.modalities import Modality
from ecotone.sensors import sensor
from ecotone.training.recipe import Recipe


@dataclass(frozen=True)
class _Unread:
    """Stands in for a dataset: a recipe that names modalities means those of MMEarth."""

    info: DatasetInfo
    modalities: dict[str, Modality]


def blueprint(recipe: Recipe) -> dict[str, Any]:
    """Build encoder and method of a recipe on the meta device: every option is checked, nothing is read or computed.

    Returns:
        ``encoder_parameters`` and ``method_parameters``; None where the recipe leaves the bands to its data.

    Raises:
        EcotoneError: An option is unknown, or architecture and method do not go together.
    """
    declared = recipe.data.sensor
    bands = recipe.input.bands or (sensor(declared).band_names if declared else None)
    role = RoleSpec(
        sensor=declared or "rgb", bands=bands or ("R", "G", "B"), unit=recipe.input.unit or "dn", normaliser=Identity()
    )
    multiple = encoder_class(recipe.encoder.kind).size_multiple(recipe.encoder.config)
    spec = InputSpec(roles={recipe.input.role: role}, size_multiple=multiple)
    layers = {
        name: Modality(name=name, role=x.role, scope=x.scope, kind=x.kind, channels=x.channels, unit=x.unit)
        for name, x in LAYERS.items()
    }
    unread = cast(Dataset, _Unread(DatasetInfo(recipe.data.path), layers))
    options = method_class(recipe.method.kind).complete(dict(recipe.method.config), unread)
    with torch.device("meta"):
        encoder = build_encoder(recipe.encoder.kind, spec, recipe.encoder.readout, recipe.encoder.config)
        method = build_method(recipe.method.kind, encoder, options)
    counts = {
        name: sum(p.numel() for p in module.parameters())
        for name, module in (("encoder_parameters", encoder), ("method_parameters", method))
    }
    return counts if bands else dict.fromkeys(counts)
