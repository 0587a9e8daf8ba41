"""Motions: an affine part, grids or a velocity on top, and the way back."""

import numpy as np
import pytest
import torch

from lcsd.divroc.motion import LayeredMotion, Velocity, covering_grid, fit_affine, nodes

POINTS = np.random.default_rng(0).uniform(-60, 60, (500, 3))


def velocity(size_mm: float) -> Velocity:
    grid = covering_grid(POINTS, spacing_mm=4.0, margin_mm=60.0)
    waves = size_mm * np.sin(nodes(grid)[:, [1, 2, 0]] / 40)
    vectors = torch.as_tensor(waves, dtype=torch.float32).T.reshape(1, 3, *grid.shape)
    return Velocity(grid, vectors)


def start() -> LayeredMotion:
    return LayeredMotion(np.array([1.0, 2, 3]), np.diag([0.1, -0.1, 0.2]), np.array([5.0, 0, -8]))


def test_affine_fit_is_exact() -> None:
    slope, offset = np.random.default_rng(1).normal(size=(3, 3)) / 9, np.array([1.0, -2, 30])
    found = fit_affine(POINTS, POINTS @ slope + offset)
    np.testing.assert_allclose(found.at(POINTS), POINTS @ slope + offset, atol=1e-4)


def test_layers_add_up() -> None:
    one = velocity(3.0)
    motion = start().with_layer(one.grid, one.vectors).with_layer(one.grid, 2 * one.vectors)
    wanted = start().at(POINTS) + 3 * one.at(torch.as_tensor(POINTS).float()).numpy()
    np.testing.assert_allclose(motion.at(POINTS), wanted, atol=1e-4)
    with pytest.raises(ValueError, match="no known inverse"):
        motion.inverse_at(POINTS)


def test_origins_are_what_moves_there() -> None:
    one = velocity(10.0)
    motion = start().with_layer(one.grid, one.vectors.numpy())
    for moved in (start(), motion):
        np.testing.assert_allclose(moved.origins_of(POINTS + moved.at(POINTS)), POINTS, atol=1e-3)


def test_a_velocity_of_fifty_mm_comes_back() -> None:
    motion = start().with_velocity(velocity(29.0))
    there = POINTS + motion.at(POINTS)
    assert np.linalg.norm(there - POINTS, axis=1).max() > 50
    back = there + motion.inverse_at(there)
    np.testing.assert_allclose(back, POINTS, atol=0.1)


def test_a_constant_velocity_moves_by_itself() -> None:
    grid = covering_grid(POINTS, spacing_mm=30.0, margin_mm=60.0)
    push = torch.tensor([3.0, -4, 5])
    constant = Velocity(grid, push.view(1, 3, 1, 1, 1).expand(1, 3, *grid.shape).contiguous())
    carried = constant.carry(torch.as_tensor(POINTS).float(), -0.5)
    np.testing.assert_allclose(carried, POINTS - [1.5, -2, 2.5], atol=1e-4)


def test_the_affine_start_goes_back_too() -> None:
    there = POINTS + start().at(POINTS)
    np.testing.assert_allclose(there + start().inverse_at(there), POINTS, atol=1e-4)
