"""The spline of Lung250M-4B: its formula written out densely, and agreement with the plain spline in mm."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from lcsd.errors import BadInputError
from lcsd.evaluation.evaluate import evaluate_tre
from lcsd.evaluation.lung250m import MAX_POINTS, Lung250mGrids, moved_by_spline, spline_displacements
from lcsd.geometry import Grid
from lcsd.io.points import PointPairs, read_point_pairs
from tests.grids import GRIDS

BEFORE_MM = {"002": 7.869, "008": 14.618, "054": 12.704, "055": 19.609, "056": 26.038, "094": 21.532, "097": 15.822}
"""Lung250M-4B repository, README: mean distance of the landmarks."""

WHOLE = "094"
"""Whose predictions are all used. Of the others every second: the time grows with the cube of their number."""

AGREEMENT_MM = 0.02
"""Mean errors by the benchmark's spline on normalised axes and by ours in mm agree this well."""

SIZE = (37, 26, 43)


def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    apart = np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2))
    return apart**2 * np.log(apart + 1e-6)


def spline(centres: np.ndarray, values: np.ndarray, places: np.ndarray, smoothing: float) -> np.ndarray:
    """The spline of the repository: the whole system with its affine part, solved at once."""
    count = len(centres)
    system = np.zeros((count + 4, count + 4))
    for start in range(0, count, 500):
        rows = slice(start, min(start + 500, count))
        system[rows, :count] = kernel(centres[rows], centres)
    system[np.arange(count), np.arange(count)] += smoothing
    system[:count, count] = system[count, :count] = 1
    system[:count, count + 1 :] = centres
    system[count + 1 :, :count] = centres.T
    solved = np.linalg.solve(system, np.concatenate([values, np.zeros((4, 3))]))
    return kernel(places, centres) @ solved[:count] + solved[count] + places @ solved[count + 1 :]


def normalised(voxels: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    half = np.asarray(size) / 2
    return (voxels - half) / half


def dense_oracle(fixed: np.ndarray, moving: np.ndarray, places: np.ndarray, smoothing: float) -> np.ndarray:
    """Spline at every fourth voxel, enlarged to the image, sampled as an image of half voxels at its border."""
    motion = normalised(moving, SIZE) - normalised(fixed, SIZE)
    axes = [np.linspace(-1, 1, n // 4) for n in SIZE]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    coarse = spline(normalised(fixed, SIZE), motion, nodes, smoothing)
    image = torch.from_numpy(coarse.reshape(*(n // 4 for n in SIZE), 3)).permute(3, 0, 1, 2)[None]
    image = functional.interpolate(image, SIZE, mode="trilinear", align_corners=True)
    where = torch.from_numpy(normalised(places, SIZE)[:, ::-1].copy()).view(1, -1, 1, 1, 3)
    found = functional.grid_sample(image, where, align_corners=False)
    return found[0, :, :, 0, 0].numpy().T * np.asarray(SIZE) / 2


def keypoints(count: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    fixed = rng.uniform(2, np.asarray(SIZE) - 3, size=(count, 3))
    return fixed, fixed + rng.normal(scale=2, size=(count, 3))


@pytest.mark.parametrize("smoothing", [0.0, 0.01])
def test_motion_is_that_of_the_dense_formula(smoothing: float) -> None:
    fixed, moving = keypoints()
    rng = np.random.default_rng(1)
    corners = np.array(list(itertools.product((0.0, 0.3), repeat=3))) * 1.0
    places = np.concatenate(
        [rng.uniform(0, np.asarray(SIZE) - 1, size=(40, 3)), corners, np.asarray(SIZE) - 0.2 - corners]
    )
    found = spline_displacements(fixed, moving, places, SIZE, smoothing=smoothing)
    np.testing.assert_allclose(found, dense_oracle(fixed, moving, places, smoothing), atol=1e-4)


def test_smoothing_and_grid_change_the_motion() -> None:
    fixed, moving = keypoints()
    found = spline_displacements(fixed, moving, fixed, SIZE)
    assert np.abs(found - (moving - fixed)).max() > 0.1


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_points_in_space_move_by_voxels_of_both_images(grid: Grid) -> None:
    grid = replace(grid, size=(11, 9, 16))
    other = Grid((60, 50, 40), (2.0, 1.5, 3.0), (5.0, 6.0, 7.0), GRIDS["permuted"].direction)
    rng = np.random.default_rng(2)
    fixed = rng.uniform(0, np.asarray(grid.size) - 1, size=(30, 3))
    moving = fixed + rng.normal(size=(30, 3))
    pairs = PointPairs(grid.voxel_to_world(fixed), other.voxel_to_world(moving))
    moved = moved_by_spline(grid.voxel_to_world(fixed), pairs, Lung250mGrids(grid, other))
    expected = fixed + spline_displacements(fixed, moving, fixed, grid.size)
    np.testing.assert_allclose(other.world_to_voxel(moved), expected, atol=1e-6)


def test_too_many_points_and_a_small_image_are_refused() -> None:
    many = np.zeros((MAX_POINTS + 1, 3))
    with pytest.raises(BadInputError, match=r"\[too_many_points\]"):
        spline_displacements(many, many, many[:1], SIZE)
    fixed, moving = keypoints()
    with pytest.raises(BadInputError, match=r"\[small_grid\]"):
        spline_displacements(fixed, moving, fixed, (30, 7, 30))


def mean_errors(landmarks: PointPairs, matches: PointPairs) -> tuple[float, float]:
    """Mean error by our spline in mm, and by the benchmark's on axes normalised by the image's size."""
    # The images' sizes are not published. Their border is as far from the last keypoint as from the first.
    size = tuple(int(n) for n in np.ceil(matches.fixed.max(axis=0) + matches.fixed.min(axis=0)))
    motion = normalised(matches.moving, size) - normalised(matches.fixed, size)
    moved = spline(normalised(matches.fixed, size), motion, normalised(landmarks.fixed, size), 0.0)
    theirs = landmarks.fixed + moved * np.asarray(size) / 2
    ours = evaluate_tre(landmarks, correspondences=matches)
    return float(ours.tre.mean()), float(np.linalg.norm(theirs - landmarks.moving, axis=1).mean())


def test_spline_in_mm_agrees_with_the_spline_on_normalised_axes() -> None:
    rng = np.random.default_rng(3)
    places = rng.uniform([8, 8, 8], [300, 210, 280], size=(900, 3))
    wave = np.stack([np.sin(places[:, 1] / 40), np.cos(places[:, 2] / 50), np.sin(places[:, 0] / 60)], axis=1)
    moved = places + 6 * wave + [0, 0, -12] + rng.normal(scale=0.5, size=places.shape)
    ours, theirs = mean_errors(PointPairs(places[:100], moved[:100]), PointPairs(places[100:], moved[100:]))
    assert ours > 0.5
    assert ours == pytest.approx(theirs, abs=AGREEMENT_MM)
    assert ours != theirs


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("case", BEFORE_MM)
def test_predictions_of_the_repository_have_the_errors_of_its_own_spline(real_data: Path, case: str) -> None:
    folder = real_data / "lung250m"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    landmarks = read_point_pairs(folder / f"case_{case}_landmarks.csv")
    matches = read_point_pairs(folder / f"case_{case}_vxmpp.csv")
    used = slice(None, None, 1 if case == WHOLE else 2)
    ours, theirs = mean_errors(landmarks, PointPairs(matches.fixed[used], matches.moving[used]))
    print(f"case {case}: ours {ours:.3f}, theirs {theirs:.3f} mm")  # noqa: T201
    before = np.linalg.norm(landmarks.fixed - landmarks.moving, axis=1).mean()
    assert before == pytest.approx(BEFORE_MM[case], abs=1e-3)
    assert ours == pytest.approx(theirs, abs=AGREEMENT_MM)
