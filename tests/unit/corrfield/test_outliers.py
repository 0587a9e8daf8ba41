"""Outliers are found; affine motion is not an outlier."""

import numpy as np

from lcsd.corrfield.outliers import agrees_with_neighbours, local_residuals


def affine_motion() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    points = rng.uniform(-100, 100, size=(300, 3))
    return points, points @ (0.1 * rng.normal(size=(3, 3))) + [1.0, 2, 3]


def test_affine_motion_has_almost_no_residual() -> None:
    points, vectors = affine_motion()
    assert local_residuals(points, vectors, neighbours=24)[0].max() < 0.05


def test_residual_is_the_distance_to_the_fit_without_the_point() -> None:
    points, vectors = affine_motion()
    vectors[17] += [3.0, -4.0, 0]
    assert abs(local_residuals(points, vectors, neighbours=24)[0][17] - 5) < 0.05


def test_outliers_are_dropped_in_rounds_and_their_neighbours_stay() -> None:
    points, vectors = affine_motion()
    bad = np.arange(0, 300, 30)
    vectors[bad] += 20
    kept = agrees_with_neighbours(points, vectors, limit=6, neighbours=24, rounds=10)
    assert not kept[bad].any()
    assert kept.sum() >= 285


def test_the_limit_is_the_distance_at_which_points_are_dropped() -> None:
    points, vectors = affine_motion()
    vectors[17] += [3.0, -4.0, 0]  # 5 mm off
    kept = [agrees_with_neighbours(points, vectors, limit=limit, neighbours=24, rounds=10) for limit in (4.5, 5.5)]
    assert [(~each).nonzero()[0].tolist() for each in kept] == [[17], []]


def test_few_points_are_all_kept() -> None:
    points = np.zeros((5, 3))
    vectors = np.arange(15.0).reshape(5, 3) * 100
    assert agrees_with_neighbours(points, vectors, limit=1, neighbours=24, rounds=3).all()
