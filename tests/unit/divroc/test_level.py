"""One resolution: how smooth the motion of a pair has to be."""

import numpy as np
import pytest

from lcsd.divroc.level import CloudPair, smoothness_of
from lcsd.settings.register import RegisterSettings


@pytest.mark.parametrize(("spacings", "factor"), [((1.0, 1.0), 1.0), ((1.5, 4.5), 2.0), ((20.0, 20.0), 3.0)])
def test_sparse_clouds_are_moved_more_smoothly(spacings: tuple[float, float], factor: float) -> None:
    edge = np.arange(6.0)
    lattice = np.stack(np.meshgrid(edge, edge, edge), axis=-1).reshape(-1, 3)
    fixed, moving = (spacing * lattice for spacing in spacings)
    found = smoothness_of(CloudPair(fixed, moving, None, "cpu"), RegisterSettings(smoothness_mm2=10.0))
    assert found == pytest.approx(10.0 * factor)
