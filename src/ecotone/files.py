"""Files that are either whole or absent: written under a temporary name, then renamed; and their checksums."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ecotone.errors import DataError, OutputError

_LOCK = ".lock"  # held by whoever writes a folder, and let go by the system if that is killed


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, renamed to it when the block ends well and removed when it does not.

    Raises:
        OutputError: The disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch()
            mode = temporary.stat().st_mode
            temporary.unlink()
            yield temporary
            temporary.chmod(mode)  # safetensors, for one, makes files that no other user can read
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        if temporary.exists():  # a path through a file instead of a folder has nothing to remove; unlink would raise
            temporary.unlink()


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """A temporary folder that takes this name when the block ends well and is removed when it does not.

    What a process that was killed has left of the same folder is removed first.

    Raises:
        DataError: The folder exists and is not empty, or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"{folder} exists already and is not empty",
            expected="a new or empty folder",
            mend="Choose another, or remove it.",
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        around = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    except OSError as error:
        raise DataError(f"cannot write {folder}", found=error.strerror) from error
    try:
        with FileLock(around / _LOCK):
            temporary = around / folder.name
            temporary.mkdir()
            yield temporary
            temporary.replace(folder)
    except OSError as error:
        raise DataError(f"cannot write {folder}", found=error.strerror, mend="Is the disk full?") from error
    finally:
        shutil.rmtree(around, ignore_errors=True)


def _remove_leftovers(folder: Path) -> None:
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.tmp"):
        if left.is_dir():
            with suppress(Timeout), FileLock(left / _LOCK, timeout=0):
                shutil.rmtree(left)


def append(path: Path, content: bytes) -> None:
    """Add to the end of a file and see it onto the disk; the file is made where it is absent.

    Raises:
        OutputError: The disk is full or the file cannot be written.
    """
    with write_errors(path), path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Say in one sentence why ``path`` cannot be written.

    Raises:
        OutputError: The disk is full or the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "no space left on the disk" if full else (error.strerror or str(error))
        raise OutputError(f"cannot write {path}: {what}", mend="Free some space, or write elsewhere.") from error


def cache_folder(part: str) -> Path:
    """Where what can be made again is kept: ``$ECOTONE_CACHE``, else ``ecotone`` in the user's cache folder.

    Args:
        part: Name of the folder within, such as ``weights``.
    """
    own = os.environ.get("ECOTONE_CACHE")
    if own:
        return Path(own) / part
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ecotone" / part


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_crc32(path: Path) -> int:
    """CRC-32 of a file: finds damage, several times faster than SHA-256 where the processor has no help for that."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            found = zlib.crc32(block, found)
    return found
