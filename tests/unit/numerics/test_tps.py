"""The thin-plate spline interpolates, reproduces affine maps and agrees with scipy."""

import numpy as np
import pytest
from scipy.interpolate import RBFInterpolator

from lcsd.errors import BadInputError
from lcsd.numerics.tps import ThinPlateSpline


def cloud(count: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (rng.uniform(-100, 100, size=(count, 3)), rng.normal(size=(count, 3)), rng.uniform(-150, 150, size=(200, 3)))


@pytest.mark.parametrize("smoothing", [0.0, 10.0])
def test_agrees_with_scipy(smoothing: float) -> None:
    points, values, queries = cloud()
    ours = ThinPlateSpline.fit(points, values, smoothing=smoothing).evaluate(queries)
    theirs = RBFInterpolator(points, values, kernel="thin_plate_spline", smoothing=smoothing, degree=1)
    np.testing.assert_allclose(ours, theirs(queries), atol=1e-6)


def test_passes_through_its_points_unless_smoothed() -> None:
    points, values, _ = cloud()
    np.testing.assert_allclose(ThinPlateSpline.fit(points, values).evaluate(points), values, atol=1e-8)
    smoothed = ThinPlateSpline.fit(points, values, smoothing=1e4).evaluate(points)
    assert np.abs(smoothed - values).max() > 0.1


def test_affine_motion_is_exact_everywhere() -> None:
    points, _, queries = cloud()
    matrix, shift = np.random.default_rng(1).normal(size=(3, 3)), np.array([1.0, 2, 3])
    spline = ThinPlateSpline.fit(points, points @ matrix + shift, smoothing=5.0)
    np.testing.assert_allclose(spline.evaluate(queries), queries @ matrix + shift, atol=1e-6)


def test_scaled_coordinates_give_the_smoothing_its_unit() -> None:
    points, values, queries = cloud()
    offset, scale = np.array([5.0, -3, 2]), np.full(3, 40.0)
    scaled = ThinPlateSpline.fit(points, values, smoothing=0.1, offset=offset, scale=scale)
    by_hand = ThinPlateSpline.fit((points - offset) / scale, values, smoothing=0.1)
    np.testing.assert_allclose(scaled.evaluate(queries), by_hand.evaluate((queries - offset) / scale), atol=1e-9)


def test_no_query_and_one_query() -> None:
    points, values, queries = cloud()
    spline = ThinPlateSpline.fit(points, values)
    assert spline.evaluate(np.zeros((0, 3))).shape == (0, 3)
    np.testing.assert_allclose(spline.evaluate(queries[:1]), spline.evaluate(queries)[:1])


def test_degenerate_points_are_named() -> None:
    points, values, _ = cloud()
    with pytest.raises(BadInputError, match=r"\[too_few_points\]"):
        ThinPlateSpline.fit(points[:3], values[:3])
    flat = points * [1, 1, 0]
    with pytest.raises(BadInputError, match=r"\[degenerate_points\]"):
        ThinPlateSpline.fit(flat, values)
    twice = np.vstack([points, points[:1]])
    with pytest.raises(BadInputError, match=r"\[degenerate_points\]"):
        ThinPlateSpline.fit(twice, np.vstack([values, values[:1] + 1]))
    ThinPlateSpline.fit(twice, np.vstack([values, values[:1] + 1]), smoothing=1.0)
