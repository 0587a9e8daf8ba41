"""Scans shared by the tests of the rigid step."""

import pytest

from lcsd.io.images import Image
from tests.thorax import scan, thorax_grid


@pytest.fixture(scope="package")
def first() -> dict[str, Image]:
    return scan(thorax_grid((2.5, 2.5, 2.5)))
