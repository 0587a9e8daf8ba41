"""Extrapolated motion is exact for affine motion and sensible in holes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lcsd.divroc import reference
from lcsd.divroc.bending import bend
from lcsd.divroc.motion import covering_grid, fit_affine
from lcsd.divroc.regularise import extrapolate
from lcsd.errors import BadInputError
from lcsd.settings.register import ExtrapolateSettings

CENTRE = np.array([10.0, -20.0, -700.0])


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).uniform(-60, 60, (800, 3)) + CENTRE


@pytest.fixture
def query() -> np.ndarray:
    return np.random.default_rng(1).uniform(-90, 90, (300, 3)) + CENTRE


def test_constant_motion_is_exact_everywhere(points: np.ndarray, query: np.ndarray) -> None:
    moved = extrapolate(points, np.full((len(points), 3), [3.0, -4.0, 25.0]), query)
    np.testing.assert_allclose(moved, np.tile([3.0, -4.0, 25.0], (len(query), 1)), atol=1e-4)


def test_affine_motion_is_exact_everywhere(points: np.ndarray, query: np.ndarray) -> None:
    matrix = np.array([[0.1, 0.02, 0], [-0.05, 0.2, 0.1], [0, 0.03, -0.15]])
    moved = extrapolate(points, points @ matrix + [1, 2, 3], query)
    np.testing.assert_allclose(moved, query @ matrix + [1, 2, 3], atol=1e-3)


def test_smooth_motion_is_known_between_and_at_the_points(points: np.ndarray) -> None:
    def motion(x: np.ndarray) -> np.ndarray:
        return 8 * np.sin(x[:, [1, 2, 0]] / 40)

    inside = np.random.default_rng(2).uniform(-50, 50, (300, 3)) + CENTRE
    moved = extrapolate(points, motion(points), inside)
    off = np.linalg.norm(moved - motion(inside), axis=1)
    assert off.mean() < 0.5
    at_points = extrapolate(points, motion(points), points)
    assert np.linalg.norm(at_points - motion(points), axis=1).mean() < 0.1


def test_softer_grids_follow_the_points_closer(points: np.ndarray) -> None:
    vectors = 5 * np.sin(points / 12)
    off = []
    for stiffness in (10.0, 0.01):
        settings = ExtrapolateSettings(stiffness_mm=stiffness)
        moved = extrapolate(points, vectors, points, settings=settings)
        off.append(np.linalg.norm(moved - vectors, axis=1).mean())
    assert off[1] < 0.2 * off[0]


@pytest.mark.slow
def test_equals_the_least_squares_solution() -> None:
    # One coarse grid, solved to the end, against the dense system of the same energy.
    rng = np.random.default_rng(0)
    points, vectors = rng.uniform(-20, 20, (40, 3)), rng.normal(size=(40, 3))
    settings = ExtrapolateSettings(finest_mm=12.0, levels=1, rounds=60, steps=300)
    found = extrapolate(points, vectors, points, settings=settings)
    grid = covering_grid(points, spacing_mm=12.0, margin_mm=24.0)
    count = int(np.prod(grid.size))
    basis = torch.eye(count, dtype=torch.float64).reshape(count, 1, *grid.shape)
    at = torch.as_tensor(grid.world_to_normalised(points))
    sampling = reference.sample(basis, at.expand(count, -1, -1))[:, 0].T.numpy()
    bent = np.stack([bend(node[None])[0].numpy().ravel() for node in basis])
    affine = fit_affine(points, vectors)
    system = sampling.T @ sampling + settings.stiffness_mm / 12.0 * bent
    nodes = np.linalg.lstsq(system, sampling.T @ (vectors - affine.at(points)), rcond=1e-12)[0]
    wanted = affine.at(points) + sampling @ nodes
    np.testing.assert_allclose(found, wanted, atol=0.02)


def test_a_slope_goes_on_into_a_hole() -> None:
    # A mean of the border would be 0 there; least bending keeps the bow.
    rng = np.random.default_rng(0)
    points = rng.uniform(-80, 80, (4000, 3))
    points = points[np.linalg.norm(points, axis=1) > 30]

    def bow(x: np.ndarray) -> np.ndarray:
        return np.c_[8 * np.cos(x[:, 0] / 60), np.zeros((len(x), 2))]

    middle = extrapolate(points, bow(points), np.zeros((1, 3)))
    np.testing.assert_allclose(middle, bow(np.zeros((1, 3))), atol=0.8)


def test_a_hole_takes_the_motion_around_it() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-80, 80, (3000, 3))
    points = points[np.linalg.norm(points, axis=1) > 40]
    vectors = np.c_[np.where(points[:, 0] > 0, 10.0, 6.0), np.zeros((len(points), 2))]
    middle = extrapolate(points, vectors, np.zeros((1, 3)))[0]
    assert middle == pytest.approx([8, 0, 0], abs=0.6)


def test_one_point_moves_everything() -> None:
    moved = extrapolate(np.zeros((1, 3)), np.array([[1.0, 2, 3]]), np.array([[500.0, 0, 0]]))
    np.testing.assert_allclose(moved, [[1, 2, 3]], atol=1e-5)


def test_memory_is_bounded(points: np.ndarray) -> None:
    with pytest.raises(BadInputError, match=r"\[raster_too_large\]") as caught:
        extrapolate(points * 50, points, points, settings=ExtrapolateSettings(finest_mm=1))
    assert caught.value.code == "raster_too_large"


@pytest.mark.parametrize(
    ("points", "vectors", "query"),
    [
        (np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((1, 3))),
        (np.zeros((4, 2)), np.zeros((4, 2)), np.zeros((1, 3))),
        (np.zeros((4, 3)), np.zeros((5, 3)), np.zeros((1, 3))),
        (np.zeros((4, 3)), np.full((4, 3), np.nan), np.zeros((1, 3))),
    ],
)
def test_bad_input(points: np.ndarray, vectors: np.ndarray, query: np.ndarray) -> None:
    with pytest.raises(BadInputError):
        extrapolate(points, vectors, query)


@pytest.mark.slow
@pytest.mark.real_data
def test_published_case_with_expert_landmarks(real_data: Path) -> None:
    folder = real_data / "lung250m"
    landmarks, sparse = (
        np.loadtxt(folder / f"case_002_{name}.csv", delimiter=",", skiprows=1)[:, :6] for name in ("landmarks", "vxmpp")
    )
    moved = extrapolate(sparse[:, :3], sparse[:, 3:] - sparse[:, :3], landmarks[:, :3])
    off = np.linalg.norm(landmarks[:, :3] + moved - landmarks[:, 3:], axis=1)
    # 1.27 mm is published for a thin-plate spline on these vectors.
    assert off.mean() < 1.25
