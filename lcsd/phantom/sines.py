"""Sines and cosines of rows of angles: additions and products only, so that the compiler uses vector instructions."""

import numba as nb
import numpy as np
from numpy.typing import NDArray

SINE_ERROR = 2e-16
"""Largest absolute error of :func:`sin_cos`."""

SINE_LARGEST = 1e5
"""Largest angle of :func:`sin_cos` in rad."""

TWO_OVER_PI = 2 / np.pi
# pi / 2 in 33 bits, so that its products with whole numbers are exact, and the rest, which is its cosine.
HALF_PI = float(np.round(np.pi / 2 * 2**32)) / 2**32
HALF_PI_REST = float(np.cos(HALF_PI))


@nb.njit(cache=True, error_model="numpy")
def sin_cos(angles: NDArray[np.float64], sine: NDArray[np.float64], cosine: NDArray[np.float64]) -> None:
    """Set ``sine`` and ``cosine`` to those of ``angles`` in rad, at most ``SINE_LARGEST`` in size; NaN stays NaN.

    The nearest multiple of pi / 2 is taken off; of the rest, at most pi / 4, the Taylor series to the 16th power.
    """
    for i in range(angles.size):
        quarter = np.floor(angles[i] * TWO_OVER_PI + 0.5)
        r = (angles[i] - quarter * HALF_PI) - quarter * HALF_PI_REST
        q = r * r
        s = 1 / 362880 + q * (-1 / 39916800 + q * (1 / 6227020800 - q * (1 / 1307674368000)))
        s = r + r * q * (-1 / 6 + q * (1 / 120 + q * (-1 / 5040 + q * s)))
        c = 1 / 479001600 + q * (-1 / 87178291200 + q * (1 / 20922789888000))
        c = 1.0 + q * (-0.5 + q * (1 / 24 + q * (-1 / 720 + q * (1 / 40320 + q * (-1 / 3628800 + q * c)))))
        # quarter modulo 4 is 2 high + odd.
        half = np.floor(quarter * 0.5)
        odd = quarter - 2.0 * half
        high = half - 2.0 * np.floor(half * 0.5)
        sign = 1.0 - 2.0 * high
        sine[i] = sign * s if odd == 0.0 else sign * c
        cosine[i] = sign * c if odd == 0.0 else -sign * s
