"""The approximations keep their error bounds over the whole range, against numpy in float64 or longer."""

import numpy as np
import pytest

from lcsd.numerics.approximations import (
    EXP_ERROR,
    EXP_LARGEST,
    LOG_ERROR,
    TANH_ERROR,
    exp_negative,
    r2_log_r,
    scaled_tanh,
)

COUNT = 400_001


def test_exponential() -> None:
    tiny = np.geomspace(1e-38, 1, 1000)
    given = np.concatenate([[0], tiny, np.linspace(0, EXP_LARGEST, COUNT)]).astype(np.float32)
    found = given.copy()
    exp_negative(found, np.empty(given.size, np.int32))
    wanted = np.exp(-given.astype(np.float64))
    error = np.abs(found - wanted) / wanted
    assert error.max() <= EXP_ERROR
    assert error[given <= 1].max() <= 2e-7
    assert found[0] == 1


def test_exponential_of_large_values_is_that_of_the_largest() -> None:
    found = np.array([EXP_LARGEST, 100, 1e30, np.inf], np.float32)
    exp_negative(found, np.empty(found.size, np.int32))
    assert (found == found[0]).all()
    assert found[0] > 0


def test_logarithm() -> None:
    near_one = 1 + np.linspace(-1e-3, 1e-3, COUNT)
    given = np.concatenate([np.geomspace(2.3e-308, 1e300, COUNT), np.geomspace(1e-6, 1e6, COUNT), near_one])
    found = given.copy()
    r2_log_r(found, np.empty_like(given), np.empty_like(given))
    exact = given.astype(np.longdouble)
    wanted = exact * np.log(exact) / 2
    nonzero = np.abs(wanted) >= np.finfo(np.float64).tiny
    error = np.abs(found - wanted)[nonzero] / np.abs(wanted[nonzero])
    assert error.max() <= LOG_ERROR


def test_logarithm_at_zero_and_one() -> None:
    found = np.array([0.0, 1.0])
    r2_log_r(found, np.empty(2), np.empty(2))
    np.testing.assert_array_equal(found, [0, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gain", [0.5, 3.0])
def test_hyperbolic_tangent(dtype: type, gain: float) -> None:
    given = np.concatenate([np.geomspace(1e-30, 1, 1000), np.linspace(0, 40, COUNT), [1e30, np.inf]]).astype(dtype)
    found = np.empty_like(given)
    scaled_tanh(given, gain, found)
    assert np.abs(found - np.tanh(gain * given.astype(np.float64))).max() <= TANH_ERROR


def test_hyperbolic_tangent_keeps_nan() -> None:
    found = np.zeros(1)
    scaled_tanh(np.array([np.nan]), 1.0, found)
    assert np.isnan(found).all()
