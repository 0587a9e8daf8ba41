"""The fitted start finds an affine motion that moments miss; points without a counterpart do not pull."""

import numpy as np
import pytest

from lcsd.divroc.motion import LayeredMotion
from lcsd.divroc.pair import CloudPair
from lcsd.divroc.start import moments_start, starting_motion
from lcsd.settings.register import RegisterLevel, RegisterSettings

STRETCH = np.diag([-0.03, -0.08, -0.2])
SHIFT = np.array([3.0, -5.0, 8.0])


def moved(points: np.ndarray) -> np.ndarray:
    return points + points @ STRETCH + SHIFT


@pytest.fixture(scope="module")
def pair() -> CloudPair:
    """Random branches, and the same after an affine motion without those at high z."""
    rng = np.random.default_rng(0)
    starts, headings = rng.uniform(-80, 80, (150, 3)), rng.normal(size=(150, 3))
    headings /= np.linalg.norm(headings, axis=1, keepdims=True)
    points = (starts[:, None] + headings[:, None] * np.linspace(0, 40, 40)[:, None]).reshape(-1, 3)
    split = rng.random(len(points)) < 0.5
    moving = points[~split]
    return CloudPair(points[split], moved(moving[moving[:, 2] < 50]), None, "cpu")


def error(motion: LayeredMotion, pair: CloudPair) -> float:
    off = pair.fixed + motion.at(pair.fixed) - moved(pair.fixed)
    return float(np.linalg.norm(off, axis=1).mean())


def test_fitted_start_survives_a_missing_part(pair: CloudPair) -> None:
    settings = RegisterSettings(start="fitted")
    moments = moments_start(pair.fixed, pair.moving, "affine")
    assert error(moments, pair) > 8
    assert error(starting_motion(pair, settings), pair) < 3


def test_small_clouds_start_from_their_moments(pair: CloudPair) -> None:
    few = CloudPair(pair.fixed[:150], pair.moving[:150], None, "cpu")
    found = starting_motion(few, RegisterSettings(start="fitted"))
    expected = moments_start(few.fixed, few.moving, "affine")
    np.testing.assert_array_equal(found.slope, expected.slope)


def test_points_without_a_counterpart_do_not_pull(pair: CloudPair) -> None:
    truth = LayeredMotion(np.zeros(3), STRETCH, SHIFT)
    level = RegisterLevel(raster_mm=4, flow_mm=8, sigma_voxels=1, iterations=1, reach_mm=4)
    kept = pair.at_level(truth, level)
    assert 0 < len(kept.fixed) < len(pair.fixed)
    assert (moved(kept.fixed)[:, 2] < 70).all()
    assert kept.covered is pair.covered
    assert pair.at_level(truth, level.model_copy(update={"reach_mm": None})) is pair


def test_a_bad_start_lets_all_points_pull(pair: CloudPair) -> None:
    away = LayeredMotion(np.zeros(3), np.zeros((3, 3)), np.array([400.0, 0, 0]))
    level = RegisterLevel(raster_mm=4, flow_mm=8, sigma_voxels=1, iterations=1, reach_mm=4)
    assert pair.at_level(away, level) is pair


def test_a_level_sees_as_many_points_as_asked_for(pair: CloudPair) -> None:
    level = RegisterLevel(raster_mm=4, flow_mm=8, sigma_voxels=1, iterations=1, points=500)
    thin = pair.at_level(LayeredMotion(np.zeros(3), STRETCH, SHIFT), level)
    assert (len(thin.fixed), len(thin.moving)) == (500, 500)
