import functools
from collections.abc import Callable

import numpy as np
import pytest

from lcsd.phantom import PhantomCase, make_case


@pytest.fixture(scope="session")
def tiny() -> PhantomCase:
    return make_case(0, size="tiny")


@pytest.fixture(scope="session")
def full_size() -> Callable[[int], PhantomCase]:
    """Return the full-size case of a seed, made once."""
    return functools.cache(make_case)


@pytest.fixture(scope="session")
def clean(tiny: PhantomCase) -> dict[str, np.ndarray]:
    return {role: tiny.clean_image(role) for role in ("fixed", "moving")}


@pytest.fixture(scope="session")
def masks(tiny: PhantomCase) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {role: tiny.masks(role) for role in ("fixed", "moving")}
