"""Adam on one array, in one pass over memory."""

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

FIRST, SECOND, LEAST = 0.9, 0.999, 1e-8
"""Decay of the means of gradients and of their squares, and what is added to the root; torch's defaults."""


class CpuAdam:
    """The steps of ``torch.optim.Adam`` on an array of float32 or float64 of any shape, but for rounding."""

    def __init__(self, parameter: NDArray[Any]) -> None:
        self._parameter = parameter
        self._means = np.zeros_like(parameter), np.zeros_like(parameter)
        self._count = 0

    def step(self, gradient: NDArray[Any], rate: float) -> None:
        """Move the array by one step along its gradient."""
        self._count += 1
        first, second = 1 - FIRST**self._count, 1 - SECOND**self._count
        parameter, slope, mean, square = (array.reshape(-1) for array in (self._parameter, gradient, *self._means))
        _step(parameter, slope, mean, square, rate / first, math.sqrt(second))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _step(
    parameter: NDArray[Any], gradient: NDArray[Any], mean: NDArray[Any], square: NDArray[Any], rate: float, root: float
) -> None:
    real = parameter.dtype.type
    keep, fresh = real(SECOND), real(1 - SECOND)
    pull, step, scale, least = real(1 - FIRST), real(-rate), real(root), real(LEAST)
    for n in range(len(parameter)):
        slope = gradient[n]
        mean[n] += pull * (slope - mean[n])
        square[n] = square[n] * keep + fresh * slope * slope
        parameter[n] += step * mean[n] / (np.sqrt(square[n]) / scale + least)
