"""One made-up release for all tests that only read it."""

from pathlib import Path

import pytest

from lcsd.release.release import write_release
from lcsd.settings.release import ReleaseSettings
from tests.unit.release.made_up import make_build


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Results and manifest of a build of two training cases and a test case."""
    return make_build(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="session")
def release(build: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of its release, with scans."""
    out = tmp_path_factory.mktemp("release") / "out"
    write_release(*build, out, ReleaseSettings(images=True, source="nlst"))
    return out
