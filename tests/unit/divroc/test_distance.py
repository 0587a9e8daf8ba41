"""The distance equals its formula, falls towards the target, and has the right gradient."""

import pytest
import torch
from torch.autograd import gradcheck

from lcsd.divroc.distance import CloudDistance, Norm
from lcsd.divroc.rasterise import rasterise
from lcsd.divroc.smoothing import gaussian_taps, smooth
from lcsd.errors import BadInputError

SHAPE = (12, 13, 14)


def cloud(count: int = 60, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((count, 3), generator=generator, dtype=torch.float64) * 1.2 - 0.6


def formula(points: torch.Tensor, weights: torch.Tensor, distance: CloudDistance) -> torch.Tensor:
    taps = gaussian_taps(0.8)
    density = smooth(rasterise(points[None], weights[None, None], SHAPE), taps)
    off = torch.tanh(distance.gain * density) - distance.target
    if distance.norm == "l1":
        return off.abs().sum() / distance.target.abs().sum()
    return off.square().sum() / distance.target.square().sum()


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_equals_the_formula_in_value_and_gradient(norm: Norm) -> None:
    distance = CloudDistance(cloud(), SHAPE, sigma_voxels=0.8, gain=1.3, norm=norm)
    points = cloud(seed=1).requires_grad_()
    weights = distance.weights(points.detach())
    found, wanted = distance(points, weights), formula(points, weights, distance)
    assert float(found.detach()) == pytest.approx(float(wanted.detach()), rel=1e-12)
    (slope,) = torch.autograd.grad(found, points)
    (slope_wanted,) = torch.autograd.grad(wanted, points)
    torch.testing.assert_close(slope, slope_wanted)


def test_gradcheck() -> None:
    distance = CloudDistance(cloud(), SHAPE, sigma_voxels=0.8, gain=1.0, norm="l2")
    points = cloud(10, seed=1).requires_grad_()
    weights = distance.weights(points.detach()).requires_grad_()
    assert gradcheck(distance, (points, weights))


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
    raster = smooth(rasterise(target[None], weights[None, None], SHAPE), taps)
    density = torch.nn.functional.grid_sample(
        raster, target[None, :, None, None], align_corners=False
    )
    assert float(density.median()) == pytest.approx(1, rel=1e-6)


def test_target_outside_the_grid_is_refused() -> None:
    with pytest.raises(BadInputError, match="outside the grid"):
        CloudDistance(cloud() + 5, SHAPE, sigma_voxels=1.0, gain=1.0)
