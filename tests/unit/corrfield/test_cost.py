"""Cost volumes against the definition, whole and fractional points, borders."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from lcsd.corrfield.cost import TOGETHER, cost_volumes

Features = NDArray[np.float32]


def features(seed: int) -> Features:
    return np.random.default_rng(seed).random((12, 11, 12, 13)).astype(np.float32)


def oracle(
    source: Features, target: Features, point: NDArray[np.float64], radius: int, step: int, patch: int, alpha: float
) -> NDArray[np.float64]:
    def at(volume: Features, places: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([map_coordinates(c, places.T, order=1, mode="nearest") for c in volume])

    steps = itertools.product(range(-patch, patch + 1, step), repeat=3)
    places = point + np.array(list(steps), dtype=np.float64)
    here = at(source, places)
    result = np.empty((2 * radius + 1,) * 3)
    for d in itertools.product(range(-radius, radius + 1), repeat=3):
        there = at(target, places + step * np.array(d))
        result[tuple(i + radius for i in d)] = alpha * ((here - there) ** 2).sum() / len(places)
    return result


@pytest.mark.parametrize(("step", "patch"), [(1, 1), (1, 2), (1, 3), (2, 3), (2, 1), (3, 3)])
@pytest.mark.parametrize(
    "point", [(5.0, 6.0, 6.0), (5.3, 6.7, 6.5), (0.0, 11.0, 12.0)], ids=["whole", "between", "corner"]
)
def test_equals_the_definition(step: int, patch: int, point: tuple[float, ...]) -> None:
    source, target = features(0), features(1)
    points = np.array([point, (4.0, 4.0, 4.0)])
    out = np.empty((2, 5, 5, 5), np.float32)
    cost_volumes(source, target, points, 2, step, patch, 2.5, 2, out)
    for n in range(2):
        expected = oracle(source, target, points[n], 2, step, patch, 2.5)
        np.testing.assert_allclose(out[n], expected, rtol=1e-4, atol=1e-5)


def test_a_shift_is_found_in_its_direction() -> None:
    source = features(2)
    target = np.roll(source, (1, -2, 0), axis=(1, 2, 3))
    out = np.empty((1, 5, 5, 5), np.float32)
    cost_volumes(source, target, np.array([[5.0, 6, 6]]), 2, 1, 1, 1.0, 2, out)
    found = np.array(np.unravel_index(out[0].argmin(), out[0].shape)) - 2
    assert found.tolist() == [1, -2, 0]
    assert out.min() == 0


def test_no_point() -> None:
    out = np.empty((0, 5, 5, 5), np.float32)
    cost_volumes(features(0), features(1), np.empty((0, 3)), 2, 1, 1, 1.0, 2, out)


def test_bytes_give_the_costs_of_the_numbers_they_are() -> None:
    rng = np.random.default_rng(3)
    source, target = rng.integers(0, 256, size=(2, 12, 11, 12, 13), dtype=np.uint8)
    points = np.array([[5.3, 6.7, 6.5], [0.0, 11.0, 2.0], [4.0, 4.0, 4.0]])
    found, expected = np.empty((2, 3, 5, 5, 5), np.float32)
    cost_volumes(source, target, points, 2, 2, 3, 1.0, 2, found)
    numbers = source.astype(np.float32), target.astype(np.float32)
    cost_volumes(*numbers, points, 2, 2, 3, 1.0, 1, expected)
    np.testing.assert_array_equal(found, expected)


def test_each_point_has_its_own_costs_whoever_computes_them() -> None:
    """More points than one group has, so that the sums must be reset."""
    source, target = features(4), features(5)
    points = np.random.default_rng(6).uniform(0, 11, size=(3 * TOGETHER + 1, 3))
    one, two = np.empty((2, len(points), 3, 3, 3), np.float32)
    cost_volumes(source, target, points, 1, 1, 1, 1.0, 1, one)
    cost_volumes(source, target, points, 1, 1, 1, 1.0, 2, two)
    np.testing.assert_array_equal(one, two)
    alone = np.empty((1, 3, 3, 3), np.float32)
    for n in (0, TOGETHER, len(points) - 1):
        cost_volumes(source, target, points[n : n + 1], 1, 1, 1, 1.0, 1, alone)
        np.testing.assert_array_equal(alone[0], one[n])
