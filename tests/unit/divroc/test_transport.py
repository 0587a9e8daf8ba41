"""Optimal transport distance: against the best assignment of all, its gradient, labels, and what travels too far."""

import itertools

import numpy as np
import pytest
import torch

from lcsd.divroc.transport import TransportDistance
from lcsd.settings.register import TransportSettings

SHARP = TransportSettings(points=100, blur_mm=0.05, reach_mm=None)


def best_assignment(first: np.ndarray, second: np.ndarray) -> float:
    """The smallest root mean square distance over all ways to pair the points."""
    ways = itertools.permutations(range(len(first)))
    return min(float(np.sqrt(((first - second[list(way)]) ** 2).sum(axis=1).mean())) for way in ways)


def test_without_blur_it_is_the_best_assignment() -> None:
    first, second = np.random.default_rng(4).uniform(0, 30, (2, 6, 3))
    distance = TransportDistance(second, scale_mm=2.0, settings=SHARP)
    assert float(distance(torch.tensor(first))) == pytest.approx(best_assignment(first, second) / 2, rel=0.01)


def test_equal_clouds_have_none_and_a_finite_gradient() -> None:
    points = torch.tensor(np.random.default_rng(4).uniform(0, 30, (20, 3)), requires_grad=True)
    found = TransportDistance(points.detach().numpy(), scale_mm=1.0, settings=SHARP)(points)
    found.backward()
    assert float(found) < 0.01
    assert points.grad is not None
    assert torch.isfinite(points.grad).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_step_against_the_gradient_lowers_the_distance(seed: int) -> None:
    """geomloss takes the plan as given in the gradient, which is exact only for a plan that has converged."""
    rng = np.random.default_rng(seed)
    distance = TransportDistance(rng.uniform(0, 20, (7, 3)), scale_mm=3.0, settings=TransportSettings(points=50))
    points = torch.tensor(rng.uniform(0, 20, (5, 3)), requires_grad=True)
    before = distance(points)
    before.backward()
    assert points.grad is not None
    with torch.no_grad():
        step = 0.5 * points.grad / points.grad.norm(dim=1, keepdim=True)
        assert float(distance(points - step)) < float(before) - 0.05
        assert float(distance(points + step)) > float(before)


def test_what_is_farther_than_its_reach_does_not_pull() -> None:
    target = np.concatenate([np.zeros((9, 3)), np.full((1, 3), 500.0)])
    points = torch.tensor(np.zeros((10, 3)) + 1.0)
    near = TransportDistance(target, scale_mm=1.0, settings=TransportSettings(points=50, reach_mm=20.0))
    far = TransportDistance(target, scale_mm=1.0, settings=TransportSettings(points=50, reach_mm=None))
    assert float(near(points)) < 20
    assert float(far(points)) > 100


def test_structures_are_transported_to_their_own_kind() -> None:
    fixed = np.array([[0.0, 0, 0], [10, 0, 0]])
    labels = np.uint8([1, 2])
    swapped = TransportDistance(fixed[::-1].copy(), scale_mm=1.0, settings=SHARP, labels=(labels, labels))
    together = TransportDistance(fixed[::-1].copy(), scale_mm=1.0, settings=SHARP)
    assert float(swapped(torch.tensor(fixed))) == pytest.approx(10, rel=0.01)
    assert float(together(torch.tensor(fixed))) < 0.1


def test_large_clouds_are_thinned_the_same_way_each_time() -> None:
    target, points = np.random.default_rng(4).uniform(0, 50, (2, 500, 3))
    distance = TransportDistance(target, scale_mm=1.0, settings=TransportSettings(points=40))
    assert float(distance(torch.tensor(points))) == float(distance(torch.tensor(points)))
