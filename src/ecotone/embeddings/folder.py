"""A store that is a folder: shared facts, and one GeoParquet file per source, which appends and deletes as files do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from ecotone.embeddings.parts import bad_facts, open_part
from ecotone.embeddings.schema import StoreFacts
from ecotone.errors import DataError
from ecotone.files import replacing, write_errors

FACTS_FILE, SOURCES, PICTURES, GRIDS, QUARANTINE = "store.json", "sources", "pictures", "grids", "quarantine.json"
LOCK = ".lock"


def source_file(folder: Path, name: str) -> Path:
    """The file of a source's rows; that it stands there says that the source is done."""
    return folder / SOURCES / f"{name}.parquet"


def source_files(folder: Path) -> list[Path]:
    """The files of the sources that are done, in the order of their rows."""
    return sorted((folder / SOURCES).glob("[!.]*.parquet"))


def picture_files(folder: Path, name: str) -> tuple[Path, Path]:
    """The COG and the PNG of a source's principal components."""
    return folder / PICTURES / f"{name}.tif", folder / PICTURES / f"{name}.png"


def is_picture(path: Path) -> bool:
    """Whether a raster is a picture of embeddings, of a store or beside a file: no scene to embed."""
    if path.name.endswith((".pca.tif", ".pca.png")):
        return path.with_suffix("").with_suffix(".parquet").is_file()
    return path.parent.name == PICTURES and (path.parents[1] / FACTS_FILE).is_file()


def grid_folder(folder: Path, name: str) -> Path:
    """The Zarr grid of a source."""
    return folder / GRIDS / f"{name}.zarr"


def read_facts(folder: Path) -> StoreFacts:
    """The facts that all sources of a folder share.

    Raises:
        DataError: They are lost, damaged, or of another version.
    """
    path = folder / FACTS_FILE
    try:
        return StoreFacts.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(
            f"the store {folder} has lost its {FACTS_FILE}", mend="Put it back, or embed into another folder."
        ) from error
    except ValidationError as error:
        raise bad_facts(path, error) from error


def read_json(path: Path) -> Any:
    """A small JSON file of a store that can be made again.

    Raises:
        DataError: It is damaged.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged", found=str(error), mend="Delete it: it is made again.") from error


def begin_folder(folder: Path, facts: StoreFacts) -> None:
    """Make a folder ready for sources with these facts; one without sources takes any.

    Raises:
        DataError: It holds embeddings of another model, or made with other settings; or it cannot be written.
    """
    if source_files(folder):
        return check_facts(folder, facts.shared.model_dump(), read_facts(folder))
    with write_errors(folder):
        if (folder / PICTURES).exists():
            shutil.rmtree(folder / PICTURES)  # in the colours of other embeddings
    with replacing(folder / FACTS_FILE) as temporary:
        temporary.write_text(facts.shared.model_dump_json(indent=1) + "\n")


def check_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Check that a path is a store of several sources made with these settings, or may become one.

    Raises:
        DataError: It is a file, a folder with other content, or a store made with other settings.
    """
    if folder.is_file():
        raise DataError(f"{folder} is a file", expected="a .parquet file or a folder", mend="Choose another --out.")
    if source_files(folder):
        return check_facts(folder, settings, read_facts(folder))
    if (folder / FACTS_FILE).is_file():
        return
    odd = [f.name for f in folder.glob("[!.]*") if f.name not in (QUARANTINE, SOURCES)]
    if odd:
        raise DataError(
            f"{folder} is not empty and holds no store of several sources",
            found=", ".join(sorted(odd)[:3]),
            mend="Choose another --out.",
        )


def check_facts(where: Path, facts: Mapping[str, Any], own: StoreFacts) -> None:
    """Check that rows with these facts belong into a store.

    Args:
        where: The store or the file, for the sentence.
        facts: Some or all of the facts of the rows.
        own: Those of the store.

    Raises:
        DataError: They differ.
    """
    differ = {n: v for n, v in facts.items() if v != getattr(own, n)}
    if differ:
        raise DataError(
            f"the embeddings in {where} do not compare with those of the store: {' and '.join(differ)} differ",
            found=", ".join(f"{n} {v}" for n, v in differ.items()),
            expected=", ".join(f"{n} {getattr(own, n)}" for n in differ),
            mend="Use the model and the settings that made the store, or another --out.",
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a store for writing; files that a killed writer left half-written are removed first.

    Raises:
        DataError: Another process writes into it, or the folder cannot be written.
    """
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise DataError(f"another process writes into the store {folder}", mend="Wait until it ends.") from None
    try:
        with write_errors(folder):
            for place in (SOURCES, PICTURES, GRIDS):
                for left in (folder / place).glob(".*.tmp"):
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield
    finally:
        lock.release()


def delete_source(folder: str | Path, name: str) -> bool:
    """Remove a source from a store: its rows, then its pictures and its grid. Safe to repeat.

    Args:
        folder: The store.
        name: The id of the source, or the path or URL that was embedded.

    Returns:
        Whether its rows were there.

    Raises:
        DataError: The folder is no store, or another process writes into it.
    """
    folder = Path(folder)
    if not (folder / FACTS_FILE).is_file():
        raise DataError(f"{folder} is not a store with several sources", expected=f"a folder with {FACTS_FILE}")
    with locked(folder):
        file = next((f for f in source_files(folder) if _is_source(f, name)), None)
        own = name if file is None else file.stem
        if file is not None:
            file.unlink(missing_ok=True)
        if Path(own).name == own:  # else it is no id, and must not lead out of the store
            delete_extras(folder, own)
    return file is not None


def delete_extras(folder: Path, name: str) -> None:
    """Remove what is made from a source's rows: pictures and grid."""
    with write_errors(folder):
        for picture in picture_files(folder, name):
            picture.unlink(missing_ok=True)
        grid = grid_folder(folder, name)
        if grid.exists():
            # Renamed first, so that a stopped deletion leaves no half grid under the final name.
            shutil.rmtree(grid.rename(grid.with_name(f".{grid.name}.tmp")))


def _is_source(file: Path, name: str) -> bool:
    if file.stem == name:
        return True
    try:
        facts = open_part(file).facts
    except DataError:
        return False  # a damaged file has no other name than its own
    return facts.uri in (name, str(Path(name).resolve()))
