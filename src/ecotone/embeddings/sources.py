"""The rasters that embeddings were made from, opened again."""

from __future__ import annotations

from pathlib import Path

from ecotone.embeddings.parts import Part
from ecotone.errors import DataError
from ecotone.rasters import Raster, open_raster
from ecotone.rasters.remote import is_remote


def open_source(part: Part) -> Raster:
    """The raster that a source's rows were made from: where it was, or beside them.

    Raises:
        DataError: It is in neither place.
    """
    facts = part.raster
    beside = tuple(str(part.path.parent / Path(p).name) for p in facts.paths)
    paths = next((p for p in (facts.paths, beside) if all(is_remote(f) or Path(f).is_file() for f in p)), None)
    if paths is None:
        raise DataError(
            f"the source raster {facts.name} is not where it was embedded, so its pixels cannot be read again",
            found="no such file",
            expected=", ".join(facts.paths),
            mend="Put it there or beside the store, or leave out what needs its pixels.",
        )
    source = paths[0] if len(paths) == 1 else list(paths)
    return open_raster(
        source,
        sensor=facts.sensor,
        bands=facts.bands,
        unit=facts.unit,
        gsd=part.facts.gsd if part.facts.gsd_source == "declared" else None,
        level=facts.level,
        mask=facts.mask,
        at_gsd=part.facts.gsd if part.facts.gsd_source == "resampled" else None,
    )
