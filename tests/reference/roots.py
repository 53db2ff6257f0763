"""Where golden tensors lie, and how close we must come to them."""

from __future__ import annotations

import os
from pathlib import Path

import torch

HERE = Path(__file__).parent
_PLACES = (os.environ.get("ECOTONE_REFERENCE"), HERE.parents[2] / "shared" / "reference", HERE / "vendored")
ROOT = next(Path(place) for place in _PLACES if place and Path(place).is_dir())


def cases(folder: str) -> list[Path]:
    """The files ``<case>.json`` of a folder of the root, whatever their stems; none if there is no such folder."""
    return sorted((ROOT / folder).glob("*.json"))


def case_id(path: Path) -> str:
    """Folder and stem, for test ids."""
    return f"{path.parent.name}/{path.stem}"


def close(actual: torch.Tensor, expected: torch.Tensor, atol: float = 2e-5, rtol: float = 1e-5) -> None:
    """Equal within tolerance, whatever the precision; shapes must agree."""
    torch.testing.assert_close(actual.detach().double(), expected.double(), atol=atol, rtol=rtol)
