"""The arrays of an index on disk: how they are written, and whether they are whole."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecotone.embeddings.index_codes import Encoded, encode
from ecotone.embeddings.index_facts import IndexFacts, SourceEntry, UnusableIndex
from ecotone.embeddings.parts import Part
from ecotone.files import file_crc32, replacing

_ROWS = 8192  # rows read, turned or summed at a time

Advance = Callable[[int], None]  # told of rows done


@dataclass(frozen=True)
class State:
    """What all rows of an index share, in one file.

    Attributes:
        rotation: (D, D) float32 rotation before rounding.
        head: How many of the turned numbers a first pass reads.
        centre: (D,) float32 subtracted before rounding; the mean when the index was first built.
        mean: (D,) float32 mean of the rows.
        norms: (n,) float32 norms of the rows after subtracting the mean.
        plain_norms: (n,) float32 norms of the rows.
    """

    rotation: np.ndarray
    head: int
    centre: np.ndarray
    mean: np.ndarray
    norms: np.ndarray
    plain_norms: np.ndarray


def write_vectors(folder: Path, part: Part, number: int, advance: Advance) -> None:
    """Copy a source's vectors to where single rows are read fast."""
    with replacing(folder / f"{number}.vectors.npy") as temporary:
        shape = (part.count, part.facts.dimension)
        if not part.count:
            return _save(temporary, np.empty(shape, np.float32))
        out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        at = 0
        for block in part.blocks():
            out[at : at + len(block.vectors)] = block.vectors
            at += len(block.vectors)
            advance(len(block.vectors))
        out.flush()


def write_codes(folder: Path, entry: SourceEntry, state: State, advance: Advance) -> None:
    """Round a source's vectors."""
    parts: list[Encoded] = []
    for vectors in row_blocks(load_vectors(folder, entry, len(state.centre))):
        parts.append(encode(vectors - state.centre, state.rotation, state.head))
        advance(len(vectors))
    codes = np.concatenate([p.codes for p in parts])
    scales = np.concatenate([np.stack([p.scale, p.rest], 1) for p in parts])
    for kind, array in (("codes", codes), ("scales", scales)):
        with replacing(folder / f"{entry.number}.{kind}.npy") as temporary:
            _save(temporary, array)


def load_vectors(folder: Path, entry: SourceEntry, dimension: int) -> np.ndarray:
    """(rows, D) float32, mapped.

    Raises:
        UnusableIndex: The file is missing or damaged.
    """
    return load(folder / f"{entry.number}.vectors.npy", (entry.rows, dimension), np.float32)


def load(path: Path, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """An array of a file, mapped and not read.

    Raises:
        UnusableIndex: The file is missing, damaged or of another shape.
    """
    try:
        array = np.load(path, mmap_mode="r" if shape[0] else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UnusableIndex(f"{path} is missing or damaged", found=str(error).splitlines()[0]) from error
    if array.shape != shape or array.dtype != dtype:
        found = f"{array.dtype} {array.shape}"
        raise UnusableIndex(f"{path} is damaged", found=found, expected=f"{np.dtype(dtype)} {shape}")
    return array


def write_state(folder: Path, update: int, state: State) -> None:
    """Keep what all rows share."""
    with replacing(folder / f"{update}.state.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, **vars(state))


def read_state(folder: Path, facts: IndexFacts) -> State:
    """What all rows share.

    Raises:
        UnusableIndex: It is missing or damaged.
    """
    path = folder / f"{facts.update}.state.npz"
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays: dict[str, Any] = {name: held[name] for name in State.__dataclass_fields__}
            state = State(**{**arrays, "head": int(arrays["head"])})
    except (OSError, ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UnusableIndex(f"{path} is missing or damaged", found=str(error).splitlines()[0]) from error
    if len(state.norms) != facts.rows or state.mean.shape != (facts.dimension,):
        raise UnusableIndex(f"{path} is damaged", found=f"{len(state.norms)} rows", expected=facts.rows)
    return state


def row_blocks(array: np.ndarray) -> list[np.ndarray]:
    """Runs of rows that fit into memory; one, which is empty, of an empty array."""
    return [array[a : a + _ROWS] for a in range(0, max(1, len(array)), _ROWS)]


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def check_files(folder: Path, facts: IndexFacts, names: Iterable[str]) -> None:
    """Compare files of an index with their checksums.

    Raises:
        UnusableIndex: One is missing or damaged.
    """
    for path in (folder / name for name in sorted(names)):
        try:
            found = file_crc32(path)
        except OSError as error:
            raise UnusableIndex(f"{path} is missing or damaged", found=error.strerror) from error
        if found != facts.checksums.get(path.name):
            raise UnusableIndex(f"{path} is damaged", found="another checksum")
