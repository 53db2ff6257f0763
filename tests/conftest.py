"""Where real imagery and golden tensors lie, and how the suite runs; tests without their data skip with a reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Small models gain nothing from several cores, and processes side by side would fight for them. Before torch starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("suite", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("suite")

BESIDE = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real imagery."""
    folder = Path(os.environ.get("ECOTONE_TEST_DATA", BESIDE / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real imagery at {folder}; set ECOTONE_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of golden tensors."""
    folder = Path(os.environ.get("ECOTONE_REFERENCE", BESIDE / "reference"))
    if not folder.is_dir():
        pytest.skip(f"no golden tensors at {folder}; set ECOTONE_REFERENCE")
    return folder
