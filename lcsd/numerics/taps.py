"""Weights of a Gaussian filter at whole voxels."""

import numpy as np
from numpy.typing import NDArray


def gaussian_taps(sigma: float, *, radius: int) -> NDArray[np.float64]:
    """Return a Gaussian of standard deviation ``sigma`` voxels, cut at ``radius``: shape (2 radius + 1,), sum 1."""
    taps: NDArray[np.float64] = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return taps / taps.sum()
