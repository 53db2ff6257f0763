"""Embed many sources into one store: what is done stays done, and what fails is listed and stops nothing else."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ecotone.embeddings import open_store
from ecotone.embeddings.fidelity import pooled
from ecotone.embeddings.folder import (
    QUARANTINE,
    check_folder,
    is_picture,
    locked,
    picture_files,
    read_json,
    source_file,
    source_files,
)
from ecotone.embeddings.parts import open_part
from ecotone.errors import DataError, InputError, OutputError, SensorError
from ecotone.files import replacing
from ecotone.inference.embed import EmbeddingSummary, add_source, georeferenced, summarise, write_extras
from ecotone.inference.embed_facts import settings_of, source_facts, stamp_of
from ecotone.inference.embedder import EmbedOptions
from ecotone.inference.told import check_single
from ecotone.rasters import Source
from ecotone.rasters.remote import is_remote, shown
from ecotone.weights import Model


@dataclass(frozen=True)
class Step:
    """How far a run over several sources has come.

    Attributes:
        source: What is being embedded.
        number: Sources before it in this run.
        sources: Sources of this run.
        done: Windows of it that are done.
        total: Its windows.
        mpix: Million pixels of raster embedded in this run.
        km2: Square kilometres of raster with a known GSD embedded in this run.
    """

    source: Source
    number: int
    sources: int
    done: int
    total: int
    mpix: float
    km2: float


@dataclass
class StoreReport:
    """What became of the sources of a run.

    Attributes:
        store: The store's folder.
        embedded: Source id -> what was embedded.
        skipped: Ids of sources that were done before.
        quarantine: Path or URL of a source that could not be embedded -> why.
        sources: Sources in the store now.
        rows: Rows in the store now.
        fidelity: What the type of the stored vectors lost over the whole store; None for ``float32``.
        seconds: Wall-clock time.
        mpix: Million pixels of raster embedded.
        km2: Square kilometres of raster with a known GSD embedded.
    """

    store: str
    embedded: dict[str, EmbeddingSummary] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    quarantine: dict[str, str] = field(default_factory=dict)
    sources: int = 0
    rows: int = 0
    fidelity: dict[str, Any] | None = None
    seconds: float = 0.0
    mpix: float = 0.0
    km2: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "mpix_per_s": self.mpix / self.seconds, "km2_per_s": self.km2 / self.seconds}


def embed_sources(
    model: Model,
    sources: Sequence[Source],
    *,
    out: str | Path,
    options: EmbedOptions | None = None,
    choices: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    zarr: bool = False,
    command: str = "",
    on_progress: Callable[[Step], None] | None = None,
) -> StoreReport:
    """Embed sources into a store, a folder with one file for each; run again, it goes on where it was stopped.

    A source is skipped if the store has its rows and neither its files nor ``choices`` have changed since. One that
    cannot be read or does not fit the model is listed in the report and in the store's ``quarantine.json``, and the
    others are embedded. Pictures that an earlier run made of embeddings are no sources.

    Args:
        model: The model.
        sources: What ``list_sources`` gives.
        out: The folder.
        options: How to cut the rasters up.
        choices: What is declared about all sources: keyword arguments of ``open_raster``.
        overwrite: Embed also what is done.
        zarr: Write a georeferenced Zarr grid of every source that has none.
        command: The command that asked for it, kept as provenance.
        on_progress: Told how far the run has come.

    Raises:
        DataError: The store was made by another model or with other settings, another process writes into it, two
            sources have one id, or a file of the store cannot be written.
        InputError: The model needs more than one raster.
    """
    run = _Run(model, Path(out), options or EmbedOptions(), dict(choices or {}), command, on_progress)
    check_single(model.encoder.spec)
    twice = [i for i, count in Counter(s.id for s in sources).items() if count > 1]
    if twice:
        raise DataError("two sources have the same id", found=twice[0], mend="Rename one of them.")
    check_folder(run.folder, settings_of(model, run.options))
    sources = [s for s in sources if not is_picture(Path(_uri(s)))]
    with locked(run.folder):
        for number, source in enumerate(sources):
            run.one(source, number, len(sources), overwrite)
        if source_files(run.folder):
            write_extras(run.folder, zarr)
    return run.finish()


class _Run:
    def __init__(
        self,
        model: Model,
        folder: Path,
        options: EmbedOptions,
        choices: dict[str, Any],
        command: str,
        on_progress: Callable[[Step], None] | None,
    ) -> None:
        self.model, self.folder, self.options, self.command = model, folder, options, command
        self.choices = {k: list(v) if isinstance(v, tuple) else v for k, v in choices.items() if v is not None}
        own = {"at_gsd": options.at_gsd} if options.at_gsd is not None else {}
        self.declared = {**self.choices, **own}  # what a source was made with; another value makes it anew
        self.on_progress, self.started = on_progress, time.perf_counter()
        self.report = StoreReport(str(folder))

    def one(self, source: Source, number: int, sources: int, overwrite: bool) -> None:
        """Embed one source, or skip it, or put it into quarantine."""
        uri = _uri(source)
        try:
            if not overwrite and self._done(source.id, uri):
                self.report.skipped.append(source.id)
            else:
                self.report.embedded[source.id] = self._embed(source, uri, number, sources)
        except OutputError:
            raise
        except (DataError, InputError, SensorError) as error:
            self.report.quarantine[uri] = str(error)
        self._list(uri)
        self._tell(source, number, sources, None, 1, 1)

    def finish(self) -> StoreReport:
        report = self.report
        if source_files(self.folder):
            store = open_store(self.folder)
            report.sources, report.rows = len(store.parts), len(store)
            lost = [p.facts.fidelity for p in store.parts if p.facts.fidelity]
            report.fidelity = pooled(lost).model_dump() if lost else None
        report.seconds = time.perf_counter() - self.started
        return report

    def _done(self, name: str, uri: str) -> bool:
        """Whether the rows of a source are there and still true.

        Raises:
            DataError: They are those of another source.
        """
        file = source_file(self.folder, name)
        if not file.exists():
            return False
        try:
            facts = open_part(file).facts
        except DataError:
            return False  # damaged: made anew
        if facts.uri != uri:
            raise DataError(
                f"the id {name} belongs to another source of the store",
                found=uri,
                expected=facts.uri,
                mend="Rename it.",
            )
        return facts.choices == self.declared and facts.stamp == stamp_of(facts.raster.paths)

    def _embed(self, source: Source, uri: str, number: int, sources: int) -> EmbeddingSummary:
        started = time.perf_counter()
        with source.open(**self.choices) as raster:
            embedder = georeferenced(self.model, raster, self.options)
            facts = source_facts(embedder, name=source.id, uri=uri, choices=self.declared, command=self.command)
            tell = partial(self._tell, source, number, sources, embedder.extent)
            written = add_source(self.folder, embedder, facts, tell)
        self.report.mpix += embedder.extent[0]
        self.report.km2 += embedder.extent[1]
        tif, png = picture_files(self.folder, source.id)
        files = {"embeddings": source_file(self.folder, source.id), "pca_tif": tif, "pca_png": png}
        return summarise(embedder, written, time.perf_counter() - started, files)

    def _tell(
        self, source: Source, number: int, sources: int, extent: tuple[float, float] | None, done: int, total: int
    ) -> None:
        if self.on_progress:
            mpix, km2 = (share * done / total for share in extent or (0.0, 0.0))
            report = self.report
            self.on_progress(Step(source, number, sources, done, total, report.mpix + mpix, report.km2 + km2))

    def _list(self, uri: str) -> None:
        """Keep the store's list of what failed true for this source."""
        path, reason = self.folder / QUARANTINE, self.report.quarantine.get(uri)
        listed = read_json(path) if path.is_file() else {"reasons": {}}
        if reason == listed["reasons"].get(uri):
            return
        listed["reasons"].pop(uri, None)
        if reason:
            listed["reasons"][uri] = reason
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(listed, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _uri(source: Source) -> str:
    """The full path of a source or of its first file, or its URL as it may be kept."""
    first = source.path if isinstance(source.path, str) else source.path[0]
    return shown(first) if is_remote(first) else str(Path(first).resolve())
