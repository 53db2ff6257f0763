"""Embed a raster of any size into a GeoParquet file with a picture of its principal components."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ecotone
from ecotone.embeddings import RasterFacts, SourceFacts, StoreWriter, fit_components, open_store, write_components
from ecotone.errors import DataError
from ecotone.files import replacing
from ecotone.inference.embedder import Embedder, EmbedOptions, nothing_valid, spec_hash
from ecotone.rasters import Raster
from ecotone.weights import Model

DEFAULT_NAME = "embeddings.parquet"
SUFFIXES = (".parquet", ".geoparquet")


@dataclass(frozen=True)
class EmbeddingSummary:
    """What was embedded, and how fast.

    Attributes:
        rows: Embeddings written.
        dimension: Length of a vector.
        dropped: Cells left out because too few of their pixels are valid.
        seconds: Wall-clock time, pictures included.
        km2_per_s: Square kilometres of raster per second; None without a GSD.
        mpix_per_s: Million pixels of raster per second.
        gsd: Metres per pixel that the model was told.
        gsd_source: Where that number comes from; ``assumed`` is the model's own.
        conversion: Named display conversion before the model.
        model_hash: Hash of the model.
        files: What was written: ``embeddings``, ``pca_tif``, ``pca_png``.
    """

    rows: int
    dimension: int
    dropped: int
    seconds: float
    km2_per_s: float | None
    mpix_per_s: float
    gsd: float | None
    gsd_source: str
    conversion: str | None
    model_hash: str
    files: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def embed_raster(
    model: Model,
    raster: Raster,
    *,
    out: str | Path,
    options: EmbedOptions | None = None,
    command: str = "",
    on_progress: Callable[[int, int], None] | None = None,
) -> EmbeddingSummary:
    """Embed a raster window by window; memory is bounded by a row of windows, not by the scene.

    Args:
        model: The model.
        raster: A georeferenced raster that meets the model's InputSpec.
        out: A ``.parquet`` file, whose pictures stand beside it as ``.pca.tif`` and ``.pca.png``, or a folder that
            gets ``embeddings.parquet``, ``pca.tif`` and ``pca.png``.
        options: How to cut the raster up.
        command: The command that asked for it, kept as provenance.
        on_progress: Called with the windows done and their total.

    Raises:
        DataError: The raster has no georeference, or not one window has enough valid pixels.
        InputError: The raster does not meet the InputSpec.
    """
    started = time.perf_counter()
    table, tif, png = output_files(out)
    if raster.crs is None or raster.place is None:
        raise DataError(
            f"{raster.paths[0]} has no usable georeference, so its embeddings would have no place",
            expected="a CRS and a transform",
            mend="Set them with: gdal_edit.py -a_srs EPSG:CODE -a_ullr WEST NORTH EAST SOUTH FILE",
        )
    embedder = Embedder(model, raster, options or EmbedOptions())
    facts = store_facts(embedder, command)
    facts.raster.polygon()  # a scene that has no polygon is refused before any work
    with replacing(table) as temporary:
        with StoreWriter(temporary, facts) as writer:
            for rows in embedder.rows(on_progress):
                writer.write(rows)
        if not writer.rows:
            raise nothing_valid(embedder)
        # The table comes last: where it stands, its pictures stand too.
        store = open_store(temporary)
        write_components(store.parts[0], fit_components(store), tif, png)
    files = {"embeddings": str(table), "pca_tif": str(tif), "pca_png": str(png)}
    return _summary(embedder, writer.rows, time.perf_counter() - started, files)


def output_files(out: str | Path) -> tuple[Path, Path, Path]:
    """The table, the COG and the PNG that belong to an output path.

    Raises:
        DataError: The path is a file of another kind.
    """
    out = Path(out)
    if out.suffix in SUFFIXES:
        return out, out.with_suffix(".pca.tif"), out.with_suffix(".pca.png")
    if out.is_file():
        raise DataError(f"{out} is a file", expected="a .parquet file or a folder", mend="Choose another --out.")
    return out / DEFAULT_NAME, out / "pca.tif", out / "pca.png"


def store_facts(embedder: Embedder, command: str = "") -> SourceFacts:
    """The facts of the store that an embedder fills."""
    options, raster = embedder.options, embedder.raster
    crs, t = raster.crs, raster.transform
    files = [Path(p) for p in raster.paths]
    return SourceFacts(
        dimension=embedder.dimension,
        per=options.per,
        chip=embedder.chip,
        overlap=options.overlap,
        cell=embedder.cells.cell,
        step=embedder.cells.step,
        min_valid=options.min_valid,
        conversion=options.convert,
        gsd=embedder.gsd,
        gsd_source=embedder.gsd_source,
        model_hash=embedder.model.hash,
        spec_hash=spec_hash(embedder.model.encoder.spec),
        source_id=raster.name,
        raster=RasterFacts(
            paths=tuple(str(f.resolve()) if f.exists() else str(f) for f in files),
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
        ),
        command=command,
        ecotone_version=ecotone.__version__,
    )


def _summary(embedder: Embedder, rows: int, seconds: float, files: dict[str, str]) -> EmbeddingSummary:
    pixels = embedder.raster.shape[0] * embedder.raster.shape[1]
    return EmbeddingSummary(
        rows=rows,
        dimension=embedder.dimension,
        dropped=embedder.dropped,
        seconds=seconds,
        km2_per_s=None if embedder.gsd is None else pixels * embedder.gsd**2 / 1e6 / seconds,
        mpix_per_s=pixels / 1e6 / seconds,
        gsd=embedder.gsd,
        gsd_source=embedder.gsd_source,
        conversion=embedder.options.convert,
        model_hash=embedder.model.hash,
        files=files,
    )
