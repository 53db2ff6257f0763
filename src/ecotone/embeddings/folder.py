"""A store that is a folder: shared facts, and one GeoParquet file per source, which appends and deletes as files do."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from pydantic import ValidationError

from ecotone.embeddings.parts import bad_facts
from ecotone.embeddings.schema import StoreFacts
from ecotone.errors import DataError
from ecotone.files import replacing

FACTS_FILE, SOURCES = "store.json", "sources"
_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


def source_id(uri: str) -> str:
    """The name of a source within a store: its file name, made plain, and eight digits of the hash of where it lies.

    Two scenes of one name in different folders get different ids, and an id never leads out of the store's folder.

    Args:
        uri: Absolute path or URL.
    """
    name = _PLAIN.sub("-", Path(uri).name).strip(".-")[:80] or "source"
    return f"{name}-{hashlib.sha256(uri.encode()).hexdigest()[:8]}"


def source_file(folder: Path, name: str) -> Path:
    """The file of a source's rows; that it stands there says that the source is done."""
    return folder / SOURCES / f"{name}.parquet"


def source_files(folder: Path) -> list[Path]:
    """The files of the sources that are done, in the order of their rows."""
    return sorted((folder / SOURCES).glob("[!.]*.parquet"))


def read_facts(folder: Path) -> StoreFacts:
    """The facts that all sources of a folder share.

    Raises:
        DataError: They are damaged, or of another version.
    """
    path = folder / FACTS_FILE
    try:
        return StoreFacts.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise bad_facts(path, error) from error


def begin_folder(folder: Path, facts: StoreFacts) -> None:
    """Make a folder ready for sources with these facts.

    Raises:
        DataError: It holds embeddings of another model, or made with other settings; or it cannot be written.
    """
    if (folder / FACTS_FILE).exists():
        return check_facts(folder, facts)
    with replacing(folder / FACTS_FILE) as temporary:
        temporary.write_text(facts.shared.model_dump_json(indent=1) + "\n")


def check_facts(where: Path, facts: StoreFacts, own: StoreFacts | None = None) -> None:
    """Check that rows with these facts belong into a store.

    Args:
        where: The store's folder, for its facts and the sentence.
        facts: Those of the rows.
        own: The store's; None to read them.

    Raises:
        DataError: They differ.
    """
    own = own or read_facts(where)
    other = {n: (getattr(facts, n), getattr(own, n)) for n in StoreFacts.model_fields}
    differ = {n: pair for n, pair in other.items() if pair[0] != pair[1]}
    if differ:
        raise DataError(
            f"the store {where} holds embeddings that do not compare with these: {' and '.join(differ)} differ",
            found=", ".join(f"{n} {mine}" for n, (mine, _) in differ.items()),
            expected=", ".join(f"{n} {theirs}" for n, (_, theirs) in differ.items()),
            mend="Use the model and the settings of the store, or choose another --out.",
        )


def delete_source(folder: str | Path, name: str) -> bool:
    """Remove the rows of a source from a store; its grid and picture with them. Safe to repeat.

    Args:
        folder: The store.
        name: The source's id.

    Returns:
        Whether it was there.

    Raises:
        DataError: The folder is no store, or the name is no id.
    """
    folder = Path(folder)
    read_store = folder / FACTS_FILE
    if not read_store.is_file():
        raise DataError(f"{folder} is not a store with several sources", expected=f"a folder with {FACTS_FILE}")
    if name != Path(name).name or name in ("", ".", ".."):
        raise DataError("a source id is a plain name", found=repr(name), expected=f"a file name of {folder / SOURCES}")
    file = source_file(folder, name)
    was_there = file.exists()
    file.unlink(missing_ok=True)
    return was_there
