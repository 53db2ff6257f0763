"""Released weights by name, fetched and imported on first use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

from ecotone.weights.catalogue import cache_folder, entry
from ecotone.weights.download import Progress, download
from ecotone.weights.importing import import_official
from ecotone.weights.model import CARD


def fetch_file(name: str, folder: str | Path | None = None) -> Path:
    """The official file of a catalogue name, downloaded with a progress bar if it is not there yet.

    Args:
        name: A name of the catalogue.
        folder: Where the file goes; default a folder of its own in the cache.

    Raises:
        CheckpointError: No such name.
        DataError: The download failed.
    """
    known = entry(name)
    folder = cache_folder() / "files" / name if folder is None else folder
    with _bar(name) as progress:
        return download(known.url, folder, sha256=known.sha256, size=known.size, progress=progress)


def fetch_model(name: str, say: Callable[[str], None] = lambda text: print(text, file=sys.stderr)) -> Path:
    """The model folder of a catalogue name, downloaded and imported into the cache on first use.

    Args:
        name: A name of the catalogue.
        say: Called with sentences on what happens and on the licence; default prints them to standard error.

    Raises:
        CheckpointError: No such name, or the file cannot be imported.
        DataError: The download failed.
    """
    known = entry(name)
    folder = cache_folder() / "models" / name
    if (folder / CARD).exists():
        return folder
    say(f"{name} is not in the cache yet: downloading {known.url}. Licence: {known.licence}.")
    report = import_official(
        fetch_file(name),
        known.method,
        folder,
        name=name,
        heads=known.heads,
        decoder_heads=known.decoder_heads,
        url=known.url,
    )
    say(f"Imported {name} to {folder}: encoder {report.encoder}, decoder {report.decoder or 'not in the file'}.")
    return folder


@contextmanager
def _bar(title: str) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
