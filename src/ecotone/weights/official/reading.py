"""Official checkpoint files, read as data: nothing in them is ever run."""

from __future__ import annotations

import re
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ecotone.errors import CheckpointError
from ecotone.files import file_sha256

# What the released files hold besides tensors: the options of the training script, which name paths. A pure path
# stands in for a real one, so that a file written on one system can be read on another.
ALLOWED = [
    Namespace,
    (PurePosixPath, "pathlib.PosixPath"),
    (PureWindowsPath, "pathlib.WindowsPath"),
    (PurePosixPath, "pathlib.PurePosixPath"),
    (PureWindowsPath, "pathlib.PureWindowsPath"),
]
LARGEST = 16 * 2**30  # bytes; the released files are below 2 GB, with their optimiser's state
TENSORS_UNDER = ("model", "state_dict")


@dataclass(frozen=True)
class OfficialCheckpoint:
    """The content of a checkpoint that the authors' code wrote.

    Attributes:
        path: The file.
        sha256: Of the whole file, 64 hexadecimal digits.
        state: Name -> tensor, on the CPU, names as the authors' model has them without a ``module.`` prefix.
        epoch: The last epoch of training, counted from 0, where the file tells.
        args: Options of the training script, as plain values; paths and other objects as text.
    """

    path: Path
    sha256: str
    state: dict[str, Tensor]
    epoch: int | None = None
    args: dict[str, Any] = field(default_factory=dict)


def read_checkpoint(path: str | Path) -> OfficialCheckpoint:
    """Read a ``.pth``, ``.pt``, ``.bin`` or ``.safetensors`` file without running anything in it.

    Understood are ``{"model": tensors, "optimizer", "epoch", "args": Namespace, ...}``, ``{"state_dict": tensors}`` and
    flat files; a ``module.`` prefix that all names share is taken off.

    Raises:
        CheckpointError: There is no such file, it is damaged, holds no weights, or would run code.
    """
    path = Path(path)
    size = _size(path)
    content: Any = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path, size)
    state = _tensors(path, content)
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.numel() * tensor.element_size() > size:
            raise CheckpointError(
                f"{path.name} is no checkpoint: {name} claims more values than the file holds",
                found=f"{tuple(tensor.shape)} in {size} bytes",
            )
    told = content if any(isinstance(content.get(k), Mapping) for k in TENSORS_UNDER) else {}
    epoch, args = told.get("epoch"), plain(told.get("args", {}))
    return OfficialCheckpoint(
        path=path,
        sha256=file_sha256(path),
        state=state,
        epoch=epoch if isinstance(epoch, int) else None,
        args=args if isinstance(args, dict) else {"args": args},
    )


def plain(value: Any) -> Any:
    """Plain numbers, texts, lists and dictionaries, whatever the options of a script held."""
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value) if isinstance(value, PurePath) else repr(value)


def _size(path: Path) -> int:
    if not path.is_file():
        raise CheckpointError(
            f"there is no checkpoint file {path}",
            found="a folder" if path.is_dir() else "nothing",
            mend="Download it first: ecotone weights download.",
        )
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    else:
        unpacked = size
    if not size or max(size, unpacked) > LARGEST or unpacked > size:
        raise CheckpointError(
            f"{path.name} is no checkpoint",
            found=f"{size} bytes, {unpacked} unpacked",
            expected=f"a file of at most {LARGEST} bytes that is not compressed",
        )
    return size


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path.name} is damaged, or no safetensors file: {error}") from error


def _pickled(path: Path, size: int) -> Any:
    archive = zipfile.is_zipfile(path)
    try:
        with torch.serialization.safe_globals(ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except Exception as error:  # a damaged or hostile pickle can fail in any way; none of it is run
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:
            raise CheckpointError(
                f"{path.name} would run code when loaded and is refused",
                found=f"the global {refused[1]}",
                expected="tensors, numbers, texts and the options of a training script",
                mend="Get the file from its authors, or ask them for safetensors.",
            ) from error
        with path.open("rb") as file:
            truncated = file.read(4) == b"PK\x03\x04" and not archive
        raise CheckpointError(
            f"{path.name} is {'incomplete' if truncated else 'damaged, or no checkpoint'}",
            found=f"{size} bytes that cannot be read as a checkpoint",
            expected="a file that torch.save wrote",
            mend="Download it again.",
        ) from error


def _tensors(path: Path, content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path.name} holds no weights", found=f"a {type(content).__name__}", expected="a dict")
    inner = next((content[k] for k in TENSORS_UNDER if isinstance(content.get(k), Mapping)), content)
    odd = [str(k) for k, v in inner.items() if not isinstance(v, Tensor)]
    if odd or not inner:
        raise CheckpointError(
            f"{path.name} holds no weights",
            found=f"{', '.join(odd[:3]) or 'nothing'}",
            expected="names and tensors, alone or under " + " or ".join(TENSORS_UNDER),
        )
    prefix = "module." if all(str(k).startswith("module.") for k in inner) else ""
    return {str(k).removeprefix(prefix): v.detach() for k, v in inner.items()}
