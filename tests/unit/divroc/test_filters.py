"""The one-pass kernels equal their definitions on any shape."""

import numba
import numpy as np
import pytest
import torch

from lcsd.divroc import filters
from lcsd.divroc.filters import gaussian_taps
from lcsd.divroc.smoothing import smooth


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gain", [0.0, 0.5, 3.0])
def test_respond_is_the_hyperbolic_tangent(dtype: type, gain: float) -> None:
    raster = np.linspace(0, 40, 9 * 8 * 7, dtype=dtype).reshape(9, 8, 7)
    out = np.empty_like(raster)
    filters.respond(raster, np.ones(1, dtype), gain, out)
    wanted = np.tanh(gain * raster.astype(np.float64)) if gain else raster
    np.testing.assert_allclose(out, wanted, atol=3e-7)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 20), (13, 5, 4), (30, 11, 9)])
@pytest.mark.parametrize("slabs", [1, 2, 7])
@pytest.mark.parametrize("absolute", [True, False])
def test_compare_equals_torch(shape: tuple[int, int, int], slabs: int, absolute: bool) -> None:
    rng = np.random.default_rng(0)
    raster, target = rng.random(shape), rng.random(shape)
    raster[rng.random(shape) < 0.7] = 0  # empty rows take another way
    taps, gain = gaussian_taps(0.8), 1.5
    slope = np.empty_like(raster)
    losses = filters.compare(raster, target, taps, gain, absolute, slabs, slope)
    free = torch.from_numpy(raster).requires_grad_()
    off = torch.tanh(gain * smooth(free[None, None], taps)[0, 0]) - torch.from_numpy(target)
    wanted = off.abs() if absolute else off.square()
    wanted.sum().backward()
    np.testing.assert_allclose(losses, wanted.sum(dim=(1, 2)).detach(), rtol=1e-6)
    assert free.grad is not None
    np.testing.assert_allclose(slope, free.grad, atol=1e-7)


def test_compare_has_the_same_bits_for_any_number_of_slabs_and_threads() -> None:
    rng = np.random.default_rng(0)
    raster, target = rng.random((2, 31, 12, 17), dtype=np.float32)
    taps = gaussian_taps(0.8).astype(np.float32)
    before, results = numba.get_num_threads(), []
    try:
        for threads, slabs in ((1, 1), (numba.config.NUMBA_NUM_THREADS, 5)):
            numba.set_num_threads(threads)
            slope = np.empty_like(raster)
            losses = filters.compare(raster, target, taps, 2.0, True, slabs, slope)
            results.append((losses.tobytes(), slope.tobytes()))
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


def test_nan_reaches_the_loss() -> None:
    raster = np.zeros((5, 5, 5))
    raster[2, 2, 2] = np.nan
    losses = filters.compare(raster, np.zeros_like(raster), np.ones(1), 1.0, True, 1, np.empty_like(raster))
    assert np.isnan(losses[2])
