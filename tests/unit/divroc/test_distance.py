"""The distance equals its formula, falls towards the target, and has the right gradient."""

import math

import numba
import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from lcsd.divroc import reference
from lcsd.divroc.distance import CloudDistance, Norm
from lcsd.divroc.filters import gaussian_taps
from lcsd.divroc.rasters import rasterise
from lcsd.divroc.smoothing import smooth
from lcsd.errors import BadInputError

SHAPE = (12, 13, 14)


def cloud(count: int = 60, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((count, 3), generator=generator, dtype=torch.float64) * 1.2 - 0.6


def formula(points: torch.Tensor, weights: torch.Tensor, distance: CloudDistance) -> torch.Tensor:
    density = smooth(reference.rasterise(points[None], weights[None], SHAPE), gaussian_taps(0.8))[0]
    response = torch.tanh(distance.gain * density) if distance.gain else density
    off = response - distance.target
    if distance.norm == "l1":
        return off.abs().sum() / distance.target.abs().sum()
    return off.square().sum() / distance.target.square().sum()


LABELS = np.arange(60) % 3


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("gain", [0.0, 1.3, 30.0])
@pytest.mark.parametrize("labels", [None, LABELS])
def test_equals_the_formula_in_value_and_gradient(norm: Norm, gain: float, labels: np.ndarray | None) -> None:
    distance = CloudDistance(cloud(), SHAPE, sigma_voxels=0.8, gain=gain, norm=norm, labels=labels)
    points = cloud(seed=1).requires_grad_()
    weights = distance.weights(points.detach(), labels)
    assert len(weights) == (1 if labels is None else 3)
    found, wanted = distance(points, weights), formula(points, weights, distance)
    assert float(found.detach()) == pytest.approx(float(wanted.detach()), rel=1e-7)
    (slope,) = torch.autograd.grad(found, points)
    (slope_wanted,) = torch.autograd.grad(wanted, points)
    torch.testing.assert_close(slope, slope_wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_target_is_the_saturated_density(dtype: torch.dtype) -> None:
    distance = CloudDistance(cloud().to(dtype), SHAPE, sigma_voxels=0.8, gain=2.0)
    weights = distance.weights(cloud().to(dtype))
    density = smooth(rasterise(cloud().to(dtype)[None], weights[None], SHAPE), gaussian_taps(0.8))
    wanted = torch.tanh(2.0 * density.double())[0]
    torch.testing.assert_close(distance.target.double(), wanted, rtol=0, atol=3e-7)


def test_gradcheck() -> None:
    distance = CloudDistance(cloud(), SHAPE, sigma_voxels=0.8, gain=1.0, norm="l2")
    points = cloud(10, seed=1).requires_grad_()
    weights = distance.weights(points.detach())
    assert gradcheck(lambda p: distance(p, weights), (points,))


def test_same_bits_for_any_number_of_threads() -> None:
    distance = CloudDistance(cloud(500), (40, 31, 22), sigma_voxels=0.8, gain=2.0)
    weights = distance.weights(cloud(500, seed=1))
    before, results = numba.get_num_threads(), []
    try:
        for threads in {1, numba.config.NUMBA_NUM_THREADS}:
            numba.set_num_threads(threads)
            points = cloud(500, seed=1).requires_grad_()
            loss = distance(points, weights)
            loss.backward()
            results.append((loss.detach(), points.grad))
    finally:
        numba.set_num_threads(before)
    assert all(torch.equal(a, b) for other in results for a, b in zip(results[0], other, strict=True))


def test_a_structure_the_target_lacks_pulls_on_nothing() -> None:
    distance = CloudDistance(cloud(), SHAPE, sigma_voxels=0.8, gain=1.0, labels=np.ones(60))
    points = cloud(seed=1).requires_grad_()
    weights = distance.weights(points.detach(), np.repeat([1, 2], 30))
    distance(points, weights).backward()
    assert points.grad is not None
    assert points.grad[:30].any(dim=1).all()
    assert not points.grad[30:].any()


def test_balance_evens_out_crowds() -> None:
    crowd = torch.cat([cloud(100), 0.02 * cloud(400, seed=1)])
    seen = []
    for balance in (0.0, 1.0):
        distance = CloudDistance(crowd, SHAPE, sigma_voxels=1.0, gain=0.0, balance=balance)
        weights = distance.weights(crowd)[0]
        seen.append(float(weights[100:].sum() / weights.sum()))
    assert seen[0] == pytest.approx(0.8)
    assert seen[1] < 0.2


def test_aimed_at_another_cloud_it_compares_with_that() -> None:
    distance = CloudDistance(cloud(), SHAPE, sigma_voxels=0.8, gain=1.0)
    other = cloud(seed=1)
    weights = distance.weights(other)
    assert float(distance(other, weights)) > 0.1
    distance.set_target(other, weights)
    assert float(distance(other, weights)) == pytest.approx(0, abs=1e-12)


def test_not_a_number_is_not_hidden() -> None:
    distance = CloudDistance(cloud(), SHAPE, sigma_voxels=0.8, gain=1.0)
    weights = distance.weights(cloud())
    weights[0, 3] = math.nan
    assert math.isnan(float(distance(cloud(), weights)))


def test_zero_at_the_target_and_growing_with_the_shift() -> None:
    target = cloud(400)
    distance = CloudDistance(target, SHAPE, sigma_voxels=1.0, gain=1.0)
    weights = distance.weights(target)
    step = torch.tensor([0.05, 0.0, 0.0], dtype=torch.float64)
    values = [float(distance(target + k * step, weights)) for k in range(4)]
    assert values[0] == pytest.approx(0, abs=1e-12)
    assert values == sorted(values)
    assert values[1] > 0.01


def test_a_doubled_cloud_is_the_same_cloud() -> None:
    target = cloud(300)
    distance = CloudDistance(target, SHAPE, sigma_voxels=1.0, gain=1.0)
    doubled = torch.cat([target, target])
    assert float(distance(doubled, distance.weights(doubled))) == pytest.approx(0, abs=1e-9)


def test_typical_density_becomes_one() -> None:
    target = cloud(500)
    distance = CloudDistance(target, SHAPE, sigma_voxels=1.0, gain=1.0)
    weights = distance.weights(target)
    taps = gaussian_taps(1.0)
    raster = smooth(rasterise(target[None], weights[None], SHAPE), taps)
    density = torch.nn.functional.grid_sample(raster, target[None, :, None, None], align_corners=False)
    assert float(density.median()) == pytest.approx(1, rel=1e-6)


def test_target_outside_the_grid_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"\[no_overlap\]"):
        CloudDistance(cloud() + 5, SHAPE, sigma_voxels=1.0, gain=1.0)
