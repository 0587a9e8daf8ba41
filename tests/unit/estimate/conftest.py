"""A finished build of one case."""

from pathlib import Path

import pytest

from lcsd.estimate.measures import Measures, read_measures
from tests.unit.estimate.builds import write_case


@pytest.fixture
def measures(tmp_path: Path) -> Measures:
    write_case(tmp_path, "a")
    return read_measures(tmp_path)
