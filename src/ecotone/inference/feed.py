"""Feed: the rasters of one place as batches that a model takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from ecotone.inference.told import by_role, told_gsd, wanted_gsd
from ecotone.inputs import CONVERSIONS, InputSpec
from ecotone.rasters import Raster, at_gsd
from ecotone.rasters.alignment import check_one_grid
from ecotone.rasters.remote import is_network
from ecotone.samples import Batch, ImageBatch

Rasters = Raster | Mapping[str, Raster]  # of a model of one role, or of each role of a model


class Feed:
    """Rasters of one place, and how their pixels become batches.

    Args:
        spec: What the model accepts.
        given: The raster, or the rasters by role, on one grid.
        gsd: Metres per pixel to which they are resampled first, or ``model`` for the nearest that the model was trained
            for in its first role; None leaves them as they are.
        convert: Named display conversion of the images of the first role, such as ``rgb8``.

    Attributes:
        rasters: Role -> the raster that is read, perhaps resampled, in the order of the spec.
        raster: That of the first role, after which the results are named.
        gsd: Metres per pixel that the model is told of it; None when unknown.
        gsd_source: Where that number comes from.

    Raises:
        InputError: A role has no raster, or a raster no role.
        DataError: The rasters do not lie on one grid, or cannot be resampled.
    """

    def __init__(
        self,
        spec: InputSpec,
        given: Rasters,
        *,
        gsd: float | Literal["model"] | None = None,
        convert: str | None = None,
    ) -> None:
        rasters = by_role(spec, given)
        self.role = next(iter(rasters))
        metres = wanted_gsd(spec.roles[self.role], rasters[self.role], gsd)
        self.rasters = rasters if metres is None else {role: at_gsd(r, metres) for role, r in rasters.items()}
        check_one_grid(self.rasters)
        self.raster, self.convert = self.rasters[self.role], convert
        self._told = {role: told_gsd(spec.roles[role], r) for role, r in self.rasters.items()}
        self.gsd, self.gsd_source = self._told[self.role]

    @property
    def remote(self) -> bool:
        """Whether any of the rasters is read over the network."""
        return any(is_network(path) for raster in self.rasters.values() for path in raster.paths)

    def batch(self, pixels: Mapping[str, NDArray[Any]], seen: NDArray[Any] | None) -> Batch:
        """A batch for the model.

        Args:
            pixels: By role (m, C, H, W) in the type and unit of its raster.
            seen: (m, H, W) bool, where all roles were observed; None for everywhere.
        """
        valid = None if seen is None else torch.from_numpy(seen).unsqueeze(1)
        images = {role: self._image(role, torch.from_numpy(p), valid) for role, p in pixels.items()}
        if self.convert:
            images[self.role] = CONVERSIONS[self.convert](images[self.role])
        n = len(images[self.role].gsd)
        return Batch(images, keys=("",) * n, seeds=torch.zeros(n, dtype=torch.int64))

    def _image(self, role: str, pixels: Tensor, valid: Tensor | None) -> ImageBatch:
        raster = self.rasters[role]
        image = ImageBatch.of(
            pixels,
            bands=raster.bands,
            unit=raster.unit,
            gsd=self._told[role][0],
            valid=valid,
            level=raster.level,
            sensor=raster.sensor,
        )
        if raster.effective_gsd is None:
            return image
        return replace(image, effective_gsd=torch.full_like(image.gsd, raster.effective_gsd))


def stamps(paths: Sequence[str]) -> list[Any]:
    """Files with what changes when they do: full path, size, time of change; those that are not local by their name."""
    files = [Path(p) for p in paths]
    return [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) if f.exists() else str(f) for f in files]
