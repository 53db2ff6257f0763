"""Embed a raster of any size into a store: GeoParquet, with a picture of its principal components."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ecotone.embeddings import (
    Part,
    SourceFacts,
    StoreWriter,
    fit_components,
    open_store,
    write_components,
    write_pictures,
)
from ecotone.embeddings.folder import (
    begin_folder,
    check_folder,
    delete_extras,
    grid_folder,
    locked,
    picture_files,
    source_file,
)
from ecotone.errors import DataError
from ecotone.files import replacing, write_errors
from ecotone.inference.embed_facts import raster_facts, settings_of, source_facts
from ecotone.inference.embedder import Embedder, EmbedOptions, nothing_valid
from ecotone.inference.feed import Rasters
from ecotone.rasters import Raster
from ecotone.rasters.listing import source_id
from ecotone.weights import Model

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
        fidelity: What the type of the stored vectors lost; None for ``float32``.
        files: What was written: ``embeddings``, ``pca_tif``, ``pca_png``, and ``grid`` if wanted.
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
    fidelity: dict[str, Any] | None
    files: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def embed_raster(
    model: Model,
    raster: Rasters,
    *,
    out: str | Path,
    options: EmbedOptions | None = None,
    zarr: bool = False,
    command: str = "",
    on_progress: Callable[[int, int], None] | None = None,
) -> EmbeddingSummary:
    """Embed a raster window by window; memory is bounded by a row of windows, not by the scene.

    Args:
        model: The model.
        raster: Meets the model's InputSpec and is georeferenced. For a model of several roles a raster for each, by
            role, on one grid; the first role's gives the source its name.
        out: A ``.parquet`` file, whose pictures stand beside it as ``.pca.tif`` and ``.pca.png``; or a folder, a store
            of several sources to which this one is added, in place of its earlier rows.
        options: How to cut the raster up.
        zarr: Write the vectors also as a georeferenced Zarr grid: ``NAME.zarr`` beside a file, ``grids`` in a folder.
        command: The command that asked for it, kept as provenance.
        on_progress: Called with the windows done and their total.

    Raises:
        DataError: The raster has no georeference, or not one window has enough valid pixels; or the store was made by
            another model or with other settings.
        InputError: The raster does not meet the InputSpec, or a role has none.
    """
    started = time.perf_counter()
    out, options = Path(out), options or EmbedOptions()
    embedder = georeferenced(model, raster, options)
    uri = _uri(embedder.raster)
    if out.suffix in SUFFIXES:
        facts = source_facts(embedder, name=embedder.raster.name, uri=uri, command=command)
        tif, png = out.with_suffix(".pca.tif"), out.with_suffix(".pca.png")
        with replacing(out) as temporary:
            written = write_rows(embedder, facts, temporary, on_progress)
            # The table comes last: where it stands, its pictures stand too.
            store = open_store(temporary)
            write_components(store.parts[0], fit_components(store), tif, png)
            if zarr:
                replace_grid(store.parts[0], out.with_suffix(".zarr"))
        grid = out.with_suffix(".zarr")
    else:
        name = source_id(Path(uri).name, str(Path(uri).resolve()))
        tif, png = picture_files(out, name)
        check_folder(out, settings_of(model, options))
        with locked(out):
            facts = source_facts(embedder, name=name, uri=uri, command=command)
            written = add_source(out, embedder, facts, on_progress)
            write_extras(out, zarr)
        out, grid = source_file(out, name), grid_folder(out, name)
    files = {"embeddings": out, "pca_tif": tif, "pca_png": png, **({"grid": grid} if zarr else {})}
    return summarise(embedder, written, time.perf_counter() - started, files)


def georeferenced(model: Model, given: Rasters, options: EmbedOptions) -> Embedder:
    """An embedder for a raster that has a place.

    Raises:
        DataError: It has none, or no polygon in longitude and latitude.
        InputError: It does not meet the model's InputSpec.
    """
    for raster in given.values() if isinstance(given, Mapping) else (given,):
        if raster.crs is None or raster.place is None:
            raise DataError(
                f"{raster.paths[0]} has no usable georeference, so its embeddings would have no place",
                expected="a CRS and a transform",
                mend="Set them with: gdal_edit.py -a_srs EPSG:CODE -a_ullr WEST NORTH EAST SOUTH FILE",
            )
    embedder = Embedder(model, given, options)
    raster_facts(embedder.raster).polygon()  # a scene that has no polygon is refused before any work
    return embedder


def write_rows(
    embedder: Embedder, facts: SourceFacts, path: Path, on_progress: Callable[[int, int], None] | None = None
) -> StoreWriter:
    """Write the rows of one source; returns the closed writer, which knows how many they are.

    Raises:
        DataError: The source has no valid pixels, or the file cannot be written.
    """
    with StoreWriter(path, facts) as writer:
        for rows in embedder.rows(on_progress):
            writer.write(rows)
    if not writer.rows:
        raise nothing_valid(embedder)
    return writer


def add_source(
    folder: Path, embedder: Embedder, facts: SourceFacts, on_progress: Callable[[int, int], None] | None = None
) -> StoreWriter:
    """Write the rows of one source into a store that is held, in place of its earlier ones; returns the writer.

    Raises:
        DataError: The store holds other embeddings, the source has no valid pixels, or a file cannot be written.
    """
    with replacing(source_file(folder, facts.source_id)) as temporary:
        written = write_rows(embedder, facts, temporary, on_progress)
        begin_folder(folder, facts)
        delete_extras(folder, facts.source_id)
    return written


def write_extras(folder: Path, zarr: bool) -> None:
    """Write what a store lacks beside its rows: pictures, and grids if wanted.

    Raises:
        DataError: A file of the store is damaged, or another cannot be written.
    """
    write_pictures(folder)
    if zarr:
        from ecotone.embeddings.grid import write_grids  # zarr takes long to import

        write_grids(folder)


def replace_grid(part: Part, path: Path) -> None:
    """Write the grid of a single file, in place of an earlier one.

    Raises:
        DataError: It cannot be written.
    """
    from ecotone.embeddings.grid import write_grid  # zarr takes long to import

    with write_errors(path):
        if path.exists():
            shutil.rmtree(path)
    write_grid(part, path)


def summarise(embedder: Embedder, written: StoreWriter, seconds: float, files: dict[str, Path]) -> EmbeddingSummary:
    """What was embedded of one source."""
    mpix, km2 = embedder.extent
    return EmbeddingSummary(
        rows=written.rows,
        dimension=embedder.dimension,
        dropped=embedder.dropped,
        seconds=seconds,
        km2_per_s=None if embedder.gsd is None else km2 / seconds,
        mpix_per_s=mpix / seconds,
        gsd=embedder.gsd,
        gsd_source=embedder.gsd_source,
        conversion=embedder.options.convert,
        model_hash=embedder.model.hash,
        fidelity=written.facts.fidelity.model_dump() if written.facts.fidelity else None,
        files={name: str(path) for name, path in files.items()},
    )


def _uri(raster: Raster) -> str:
    """The file, product or folder that a raster was read from."""
    first = Path(raster.paths[0])
    if len(raster.paths) == 1:
        return raster.paths[0]
    return str(next((p for p in first.parents if p.name == raster.name), first.parent))
