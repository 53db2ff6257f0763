"""What a store says about the embeddings of one source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ecotone
from ecotone.embeddings import RasterFacts, SourceFacts
from ecotone.inference.embedder import Embedder, EmbedOptions, spec_hash
from ecotone.rasters import Raster
from ecotone.rasters.remote import is_remote, shown
from ecotone.weights import Model


def source_facts(
    embedder: Embedder, *, name: str, uri: str, choices: dict[str, Any] | None = None, command: str = ""
) -> SourceFacts:
    """The facts of the rows that an embedder makes."""
    others = {role: raster_facts(r) for role, r in embedder.feed.rasters.items()}
    return SourceFacts(
        **settings_of(embedder.model, embedder.options),
        dimension=embedder.dimension,
        cell=embedder.cells.cell,
        step=embedder.cells.step,
        source_id=name,
        uri=uri,
        choices=choices or {},
        stamp=stamp_of([p for r in embedder.feed.rasters.values() for p in r.paths]),
        gsd=embedder.gsd,
        gsd_source=embedder.gsd_source,
        raster=others.pop(embedder.feed.role),
        others=others,
        command=command,
        ecotone_version=ecotone.__version__,
    )


def settings_of(model: Model, options: EmbedOptions) -> dict[str, Any]:
    """The facts of a store that are known before any source is opened."""
    return {
        "per": options.per,
        "chip": options.chip or model.card.encoder.image_size,
        "overlap": options.overlap,
        "min_valid": options.min_valid,
        "conversion": options.convert,
        "dtype": options.dtype,
        "model_hash": model.hash,
        "spec_hash": spec_hash(model.encoder.spec),
    }


def raster_facts(raster: Raster) -> RasterFacts:
    """What a store says about a raster."""
    crs, t = raster.crs, raster.transform
    return RasterFacts(
        paths=tuple(shown(p) if is_remote(p) else str(Path(p).resolve()) for p in raster.paths),
        name=raster.name,
        crs=crs.to_string() if crs else "",
        transform=(t.a, t.b, t.c, t.d, t.e, t.f),
        shape=raster.shape,
        bands=raster.bands,
        unit=raster.unit.name,
        sensor=raster.sensor,
        level=raster.level,
        mask=raster.mask,
        origin=dict(raster.origin),
    )


def stamp_of(paths: Sequence[str]) -> str | None:
    """Size in bytes and time of change in ns of local files, by which a changed scene is noticed."""
    try:
        found = [Path(p).stat() for p in paths]
    except OSError:
        return None
    return " ".join(f"{s.st_size}@{s.st_mtime_ns}" for s in found)
