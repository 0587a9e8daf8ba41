"""Separable smoothing against scipy."""

import numpy as np
import pytest
from scipy.ndimage import correlate1d, gaussian_filter

from lcsd.corrfield.smoothing import gaussian_taps, smooth


@pytest.mark.parametrize("shape", [(9, 8, 7), (1, 5, 2), (2, 1, 1)])
@pytest.mark.parametrize(("sigma", "truncate"), [(1.0, 2.0), (1.4, 1.5), (2.0, 3.0)])
def test_equals_scipy_with_continued_borders(shape: tuple[int, int, int], sigma: float, truncate: float) -> None:
    volumes = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    found = smooth(volumes, gaussian_taps(sigma, truncate=truncate))
    for volume, smoothed in zip(volumes, found, strict=True):
        expected = gaussian_filter(volume.astype(float), sigma, truncate=truncate, mode="nearest")
        np.testing.assert_allclose(smoothed, expected, atol=1e-5)


def test_uneven_taps_are_correlated_not_convolved() -> None:
    volumes = np.random.default_rng(1).normal(size=(1, 6, 5, 7)).astype(np.float32)
    taps = np.array([0.2, 1.0, -0.5], np.float32)
    expected = volumes[0].astype(float)
    for axis in range(3):
        expected = correlate1d(expected, taps, axis=axis, mode="nearest")
    np.testing.assert_allclose(smooth(volumes, taps)[0], expected, atol=1e-5)
