"""Fast exp, log and tanh for rows of numbers: additions, products and bits only.

A call of the C library in a loop keeps the compiler from using vector instructions; these loops have no call
and no branch. Every function states its largest error, which a test checks over the whole range against numpy in
float64. They are compiled into their callers, so the bits of results depend on each operation here and its order.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

EXP_ERROR = 4e-6
"""Largest relative error of :func:`exp_negative`; it grows with the value and is 2e-7 up to 1."""

EXP_LARGEST = np.float32(87)
"""Larger values count as this: exp(-87) is still a normal float32."""

LOG_ERROR = 1.2e-15
"""Largest relative error of :func:`r2_log_r`."""

TANH_ERROR = 3e-7
"""Largest absolute error of :func:`scaled_tanh`, float32 and float64."""

TANH_FLAT = 9.0
"""From here on tanh is 1 in float32."""


_SERIES = np.polynomial.Chebyshev.interpolate(np.exp2, 6, domain=[-1, 0])
EXP2 = tuple(np.float32(c) for c in _SERIES.convert(kind=np.polynomial.Polynomial).coef)
"""Coefficients of 2^f for f in [-1, 0], lowest first; right to 1e-7."""
LOG2_E = np.float32(np.log2(np.e))


@numba.njit(cache=True, error_model="numpy")
def exp_negative(values: F32, bits: NDArray[np.int32]) -> None:
    """Replace ``values``, which are >= 0, by ``exp(-values)``; ``bits`` is a buffer of their size.

    ``2^x = 2^f 2^n`` with n whole and f in (-1, 0]: a polynomial of f, and n as the exponent's bits.
    """
    p0, p1, p2, p3, p4, p5, p6 = EXP2
    for i in range(values.size):
        exponent = -np.fmin(values[i], EXP_LARGEST) * LOG2_E
        whole = np.int32(exponent)
        f = exponent - np.float32(whole)
        values[i] = p0 + f * (p1 + f * (p2 + f * (p3 + f * (p4 + f * (p5 + f * p6)))))
        bits[i] = (whole + np.int32(127)) << np.int32(23)
    power = bits.view(np.float32)
    for i in range(values.size):
        values[i] *= power[i]


# log(s) by the bits of s = 2^e m with m in [sqrt(1/2), sqrt(2)).
HALF_ROOT = np.uint64(0x3FE6A09E667F3BCD)
SHIFT_TO_HALF_ROOT = np.uint64(0x3FF0000000000000) - HALF_ROOT
MANTISSA = np.uint64(0x000FFFFFFFFFFFFF)
EXPONENT_AT = np.uint64(52)
TWO_TO_52 = np.uint64(0x4330000000000000)
"""The double 2^52: an integer in its lowest bits is added to it."""
BIAS = float(2**52 + 1023)
HALF_LOG_2 = float(np.log(2) / 2)


@numba.njit(cache=True, error_model="numpy")
def r2_log_r(squared: F64, mantissa: F64, exponent: F64) -> None:
    """Replace ``r^2``, normal numbers or 0, by ``r^2 log r``, which is 0 at 0; two buffers of its size.

    ``log m = 2 artanh(t)`` with ``t = (m - 1) / (m + 1)``, |t| < 0.172, as a series to t^17.
    """
    given = squared.view(np.uint64)
    m_bits, e_bits = mantissa.view(np.uint64), exponent.view(np.uint64)
    for i in range(given.size):
        bits = given[i] + SHIFT_TO_HALF_ROOT
        e_bits[i] = (bits >> EXPONENT_AT) | TWO_TO_52
        m_bits[i] = (bits & MANTISSA) + HALF_ROOT
    for i in range(squared.size):
        t = (mantissa[i] - 1.0) / (mantissa[i] + 1.0)
        u = t * t
        series = 1 / 9 + u * (1 / 11 + u * (1 / 13 + u * (1 / 15 + u * (1 / 17))))
        series = t * (1.0 + u * (1 / 3 + u * (1 / 5 + u * (1 / 7 + u * series))))
        squared[i] *= (exponent[i] - BIAS) * HALF_LOG_2 + series


@numba.njit(cache=True, error_model="numpy")
def scaled_tanh(values: NDArray[Any], gain: float, out: NDArray[Any]) -> None:
    """Set ``out`` to ``tanh(gain values)``, float32 or float64, ``gain values`` >= 0; NaN stays NaN.

    ``tanh(v) = 2 t / (1 + t^2)`` with ``t = tanh(v / 2)`` halves the range of the fraction and squares its error near
    saturation.
    """
    real = values.dtype.type
    one, half, flat, slope = real(1), real(0.5), real(TANH_FLAT), real(gain)
    a0, a1, a2, a3 = real(34459425), real(4729725), real(135135), real(990)
    b1, b2, b3, b4 = real(16216200), real(945945), real(13860), real(45)
    for x in range(len(values)):
        value = slope * values[x]
        # This way round, so that NaN stays NaN.
        h = (flat if value > flat else value) * half
        q = h * h
        above = a0 + q * (a1 + q * (a2 + q * (a3 + q)))
        below = a0 + q * (b1 + q * (b2 + q * (b3 + q * b4)))
        t = h * above / below
        out[x] = (t + t) / (one + t * t)
