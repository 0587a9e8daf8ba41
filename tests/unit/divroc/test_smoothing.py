"""Smoothing equals scipy's correlation and is its own adjoint."""

from typing import Any

import numba
import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from torch.autograd import gradcheck
from torch.nn import functional

from lcsd.divroc import smoothing
from lcsd.divroc.filters import gaussian_taps, mean_taps
from lcsd.divroc.smoothing import smooth


def volume(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("taps", [gaussian_taps(0.7), mean_taps(7, 2), np.ones(1)])
@pytest.mark.parametrize("shape", [(2, 3, 9, 10, 11), (1, 1, 3, 1, 20)])
def test_equals_scipy(taps: np.ndarray, shape: tuple[int, ...]) -> None:
    values = volume(*shape)
    wanted = values.numpy()
    for axis in (2, 3, 4):
        wanted = correlate1d(wanted, taps, axis=axis, mode="constant")
    np.testing.assert_allclose(smooth(values, taps), wanted, atol=1e-12)


def test_sparse_volumes_are_no_special_case() -> None:
    values = torch.zeros(1, 1, 5, 6, 7, dtype=torch.float64)
    values[0, 0, 2, 3, 4] = 1
    found = smooth(values, mean_taps(3, 1))[0, 0]
    assert found[1:4, 2:5, 3:6].numpy() == pytest.approx(1 / 27)
    assert found.sum() == pytest.approx(1)


@pytest.mark.parametrize("shape", [(2, 3, 9, 10, 11), (1, 1, 3, 1, 20)])
def test_the_form_of_cuda_is_the_same_filter_in_whole_floats(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds, convolve = [], functional.conv3d

    def noted(*arguments: Any, **options: Any) -> torch.Tensor:
        rounds.append(torch.backends.cudnn.allow_tf32)
        return convolve(*arguments, **options)

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(smoothing.functional, "conv3d", noted)
    values, taps = volume(*shape), gaussian_taps(0.7)
    found = smoothing._convolved(values.flatten(0, 1), torch.as_tensor(taps))
    torch.testing.assert_close(found.view(shape), smooth(values, taps), rtol=0, atol=1e-12)
    assert rounds == [False] * 3
    assert torch.backends.cudnn.allow_tf32


def test_gradcheck() -> None:
    values = volume(1, 2, 4, 3, 5).requires_grad_()
    assert gradcheck(lambda v: smooth(v, gaussian_taps(0.8)), (values,))


def test_taps_have_sum_one_and_the_named_width() -> None:
    assert gaussian_taps(1.5).sum() == pytest.approx(1)
    np.testing.assert_allclose(mean_taps(3, 2), np.array([1, 2, 3, 2, 1]) / 9)
    spread = (gaussian_taps(2.0) * np.arange(-6, 7) ** 2).sum()
    assert spread == pytest.approx(4.0, rel=0.03)  # cut at three standard deviations


def test_same_bits_for_any_number_of_threads() -> None:
    values = volume(1, 3, 20, 21, 22).float()
    before = numba.get_num_threads()
    results = []
    try:
        for threads in {1, numba.config.NUMBA_NUM_THREADS}:
            numba.set_num_threads(threads)
            results.append(smooth(values, mean_taps(7, 2)))
    finally:
        numba.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results)
