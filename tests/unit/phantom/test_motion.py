import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from lcsd.errors import WorkError
from lcsd.phantom.fits import bspline_residual, rigid_fit
from lcsd.phantom.motion import rotation_matrix
from lcsd.phantom.plan import accepted_motion, landmark_points, random_lung_points
from lcsd.settings.phantom import PhantomSettings

SEEDS = (0, 2, 5)


pytestmark = pytest.mark.xdist_group("phantom")


@pytest.fixture(scope="module", params=SEEDS)
def full(request, full_size):
    return full_size(request.param)


@pytest.mark.slow
def test_landmark_distances_meet_the_targets(full):
    residuals = full.residuals
    assert 8.0 <= residuals.rigid <= 12.0
    assert residuals.affine >= 4.0
    assert residuals.bspline >= 1.0
    assert residuals.native > residuals.rigid > residuals.affine > residuals.bspline


def test_motion_keeps_orientation_everywhere_in_the_thorax(full):
    fixed, _ = full.points
    low, high = fixed.min(axis=0) - 20.0, fixed.max(axis=0) + 20.0
    axes = [np.linspace(a, b, 40) for a, b in zip(low, high, strict=True)]
    lattice = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 3)
    assert full.determinant(lattice).min() > 0.3
    assert 0.08 < np.log(full.determinant(fixed)).std() < 0.22


def test_motion_is_largest_at_the_diaphragm_and_small_at_the_spine(full):
    body = full.body_points
    size = np.linalg.norm(full.motion.displacement(body)[0], axis=1)
    lowest = body[:, 2] < np.quantile(body[:, 2], 0.15)
    highest = body[:, 2] > np.quantile(body[:, 2], 0.85)
    assert size[lowest].mean() > 1.8 * size[highest].mean()
    z = np.linspace(-100.0, 100.0, 21)
    spine = np.stack([np.zeros_like(z), np.full_like(z, 68.0), z], axis=1)
    assert np.linalg.norm(full.motion.displacement(spine)[0], axis=1).max() < 0.5


def test_inverse_undoes_transform(full):
    fixed, moving = full.points
    np.testing.assert_allclose(full.inverse(moving), fixed, atol=1e-6)
    corners = fixed.mean(axis=0) + 190.0 * np.array([[1, 1, 1], [-1, -1, -1], [1, -1, 1], [-1, 1, -1]])
    np.testing.assert_allclose(full.inverse(full.transform(corners)), corners, atol=1e-5)


def test_places_of_points_do_not_depend_on_their_neighbours(tiny):
    """Each point is sought from the one before if that is near."""
    start, _ = tiny.landmarks
    row = start[0] + np.linspace(0.0, 60.0, 90)[:, None] * [1.0, 0.3, -0.2]
    far = np.concatenate([row[::-1], start])[np.random.default_rng(0).permutation(190)]
    for fixed in (row, far):
        moving = tiny.transform(fixed)
        alone = np.concatenate([tiny.inverse(point[None]) for point in moving])
        np.testing.assert_allclose(tiny.inverse(moving), alone, atol=1e-8)
        np.testing.assert_allclose(alone, fixed, atol=1e-8)


def test_determinant_is_the_derivative_of_the_transform(tiny):
    points, _ = tiny.landmarks
    step = 1e-4
    columns = [
        (tiny.transform(points + step * axis) - tiny.transform(points - step * axis)) / (2 * step) for axis in np.eye(3)
    ]
    numeric = np.linalg.det(np.stack(columns, axis=-1))
    np.testing.assert_allclose(tiny.determinant(points), numeric, rtol=1e-6)


def test_impossible_inverse_is_an_error(tiny):
    with pytest.raises(WorkError, match="inverse_not_converged"):
        tiny.inverse(np.array([[0.0, np.nan, 0.0]]))


def test_a_body_without_lungs_has_neither_landmarks_nor_points(tiny):
    body = tiny.body._replace(dome_right_z=1000.0, dome_left_z=1000.0)
    with pytest.raises(WorkError, match=r"\[phantom_landmarks\]"):
        landmark_points(np.random.default_rng(0), tiny.vessels, body)
    with pytest.raises(WorkError, match=r"\[phantom_empty\]"):
        random_lung_points(np.random.default_rng(0), body)


def test_a_motion_that_no_draw_reaches_is_an_error(tiny, monkeypatch):
    monkeypatch.setattr("lcsd.phantom.plan.MOTION_ATTEMPTS", 1)
    settings = PhantomSettings(min_affine_mm=90.0, min_rigid_mm=100.0, max_rigid_mm=100.0)
    with pytest.raises(WorkError, match=r"\[phantom_motion\]"):
        accepted_motion(np.random.default_rng, tiny.body, tiny.body_landmarks, tiny.body_points, settings)


def test_rotation_turns_x_to_y_about_z():
    turned = rotation_matrix(np.array([0.0, 0.0, 90.0])) @ np.array([1.0, 0.0, 0.0])
    np.testing.assert_allclose(turned, [0.0, 1.0, 0.0], atol=1e-12)


def test_rigid_fit_recovers_a_rigid_motion():
    points = np.random.default_rng(1).normal(size=(20, 3)) * 50.0
    moved = points @ rotation_matrix(np.array([5.0, -7.0, 9.0])).T + [3.0, 4.0, 5.0]
    np.testing.assert_allclose(rigid_fit(points, moved), moved, atol=1e-9)
    # A mirror image is no rigid motion.
    mirrored = points * [-1.0, 1.0, 1.0]
    assert np.linalg.norm(rigid_fit(points, mirrored) - mirrored, axis=1).mean() > 10.0


def test_bspline_fit_leaves_nothing_of_a_cubic_but_much_of_a_short_wave():
    rng = np.random.default_rng(2)
    sample, points = rng.uniform(-120, 120, (3000, 3)), rng.uniform(-100, 100, (50, 3))

    def cubic(p):
        return np.stack([(p[:, 0] / 50) ** 3, (p[:, 1] / 60) ** 2, p[:, 2] / 10], axis=1)

    def wave(p):
        return np.sin(p * 2 * np.pi / 60.0)

    assert np.abs(bspline_residual(sample, cubic(sample), points, cubic(points))).max() < 1e-3
    assert np.abs(bspline_residual(sample, wave(sample), points, wave(points))).mean() > 0.3


def test_bspline_fit_has_the_same_bits_whatever_the_threads():
    """Motions are scaled by its residuals, and commands in other processes may have more threads."""
    rng = np.random.default_rng(0)
    sample, points = rng.uniform(-150, 150, (5000, 3)), rng.uniform(-140, 140, (100, 3))
    values = [np.sin(where / 20.0) for where in (sample, points)]
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found.append(bspline_residual(sample, values[0], points, values[1]))
    np.testing.assert_array_equal(*found)
