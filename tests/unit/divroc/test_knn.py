"""Neighbour smoothing equals its definition and keeps a constant."""

import numpy as np

from lcsd.divroc.extrapolation import smooth_neighbours

RNG = np.random.default_rng(0)
POINTS, VECTORS = RNG.uniform(-20, 20, (50, 3)), RNG.normal(size=(50, 3))
QUERY = RNG.uniform(-30, 30, (20, 3))


def test_equals_the_definition() -> None:
    found = smooth_neighbours(POINTS, VECTORS, QUERY, neighbours=4)
    for place, vector in zip(QUERY, found, strict=True):
        distance = np.linalg.norm(POINTS - place, axis=1)
        near = np.argsort(distance)[:4]
        wanted = (VECTORS[near] / distance[near, None]).sum(axis=0) / (1 / distance[near]).sum()
        np.testing.assert_allclose(vector, wanted)


def test_a_constant_stays_and_a_point_keeps_its_own() -> None:
    constant = np.tile([1.0, -2, 30], (50, 1))
    np.testing.assert_allclose(smooth_neighbours(POINTS, constant, QUERY), constant[:20])
    np.testing.assert_allclose(smooth_neighbours(POINTS, VECTORS, POINTS), VECTORS, atol=0.01)


def test_fewer_points_than_neighbours() -> None:
    found = smooth_neighbours(POINTS[:1], VECTORS[:1], QUERY)
    np.testing.assert_allclose(found, np.tile(VECTORS[0], (20, 1)))
