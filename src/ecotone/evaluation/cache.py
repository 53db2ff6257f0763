"""Features on disk, under a key of everything that they depend on."""

from __future__ import annotations

import hashlib
import inspect
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import ecotone
from ecotone.errors import DataError
from ecotone.files import file_sha256, replacing
from ecotone.rasters.declared import DATASET_FILE

SCHEMA = 1


@dataclass(frozen=True)
class FeatureCache:
    """A folder of feature files. It may be deleted at any time.

    Attributes:
        folder: Where the files lie.
        data: Hash of the dataset's files and of how they are read.
    """

    folder: Path
    data: str

    def path(self, facts: Mapping[str, Any]) -> Path:
        """The file of features that depend on these facts, on the data, on this code and on this torch."""
        whole = {"schema": SCHEMA, "code": _code(), "torch": torch.__version__, "data": self.data, **facts}
        key = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
        return self.folder / key[:2] / f"{key}.safetensors"

    def load(self, facts: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """The tensors that were kept, or None. A damaged file counts as absent, with a warning."""
        path = self.path(facts)
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
                said = (file.metadata() or {}).get("sha256")
        except (SafetensorError, OSError) as error:
            return _damaged(path, str(error))
        return found if said == tensors_hash(found) else _damaged(path, "its checksum is another")

    def save(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors: whole, or with a warning not at all."""
        kept = {name: t.contiguous() for name, t in tensors.items()}
        try:
            with replacing(self.path(facts)) as temporary:
                save_file(kept, temporary, metadata={"sha256": tensors_hash(kept), "facts": json.dumps(facts)})
        except DataError as error:
            warnings.warn(f"features are not kept: {error}", stacklevel=2)


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors: names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        t = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def module_hash(module: nn.Module) -> str:
    """SHA-256 of the weights of a module."""
    return tensors_hash(module.state_dict())


def class_hash(kind: type) -> str:
    """SHA-256 of the file that defines a class."""
    file = inspect.getsourcefile(kind)
    return "" if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()


def files_hash(path: str | Path) -> str:
    """SHA-256 of the names, sizes and times of change of all files of a dataset, without reading them."""
    place = Path(path)
    root = place if place.is_dir() else place.parent
    stats = ((f.relative_to(root).as_posix(), f.stat()) for f in sorted(root.rglob("*")) if f.is_file())
    listed = [(place.name, str(root.resolve())), *((name, s.st_size, s.st_mtime_ns) for name, s in stats)]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def content_hash(path: str | Path) -> str:
    """SHA-256 of the names and contents of all files of a dataset; of one file, of it and its declaration."""
    place = Path(path)
    root = place if place.is_dir() else place.parent
    files = sorted(f for f in root.rglob("*") if f.is_file()) if place.is_dir() else [place, root / DATASET_FILE]
    listed = [(f.relative_to(root).as_posix(), file_sha256(f)) for f in files if f.is_file()]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


@cache
def _code() -> str:
    """SHA-256 of this package: another version may compute other features."""
    digest = hashlib.sha256()
    root = Path(ecotone.__file__).parent
    for file in sorted(f for f in root.rglob("*") if f.suffix in (".py", ".yaml")):
        digest.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def _damaged(path: Path, why: str) -> None:
    warnings.warn(f"the kept features {path} are damaged and computed anew: {why}", stacklevel=3)
