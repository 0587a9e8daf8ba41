"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

REAL_DATA_VARIABLE = "LCSD_REAL_DATA"
DEFAULT_REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real scans, or a skip that says how to give one."""
    folder = Path(os.environ.get(REAL_DATA_VARIABLE, DEFAULT_REAL_DATA))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not a folder; set {REAL_DATA_VARIABLE}")
    return folder
