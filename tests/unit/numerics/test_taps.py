"""Taps of a Gaussian against scipy."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from lcsd.numerics.taps import gaussian_taps


@pytest.mark.parametrize(("sigma", "radius"), [(0.5, 1), (1.4, 2), (2.0, 6)])
def test_taps_are_scipys_response_to_an_impulse(sigma: float, radius: int) -> None:
    impulse = np.zeros(4 * radius + 1)
    impulse[2 * radius] = 1
    expected = gaussian_filter1d(impulse, sigma, radius=radius)
    np.testing.assert_allclose(gaussian_taps(sigma, radius=radius), expected[radius : 3 * radius + 1], atol=1e-15)
