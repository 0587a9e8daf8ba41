"""Proposed landmarks: spread, distinctive, inside, and a doubt that follows the true error."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.stats import spearmanr

from lcsd.corrfield.foerstner import keypoint_scores
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField
from lcsd.io.images import Image
from lcsd.landmarks.propose import distinctive_points, doubts, propose_landmarks
from lcsd.landmarks.spread import spread_out
from lcsd.settings.correspond import CorrespondSettings
from lcsd.settings.landmarks import LandmarksSettings
from tests.grids import GRIDS
from tests.thorax import CENTRE, thorax

SETTINGS = LandmarksSettings(count=40)
NEAR = CorrespondSettings(erosion=2)


def test_spread_points_keep_apart_and_prefer_the_first() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 100, (400, 3))
    rows = spread_out(points, 20)
    assert len(set(rows)) == 20
    assert rows[0] == 0
    assert list(rows) == sorted(rows)
    apart = cKDTree(points[rows]).query(points[rows], k=2)[0][:, 1]
    by_chance = cKDTree(points[:20]).query(points[:20], k=2)[0][:, 1]
    assert apart.min() > 2 * by_chance.min()
    # Almost every point has a chosen one near: nothing is left out.
    cover = cKDTree(points[rows]).query(points)[0]
    assert np.percentile(cover, 95) < 1.5 * apart.min()
    np.testing.assert_array_equal(spread_out(points[:5], 5), np.arange(5))


def stretch(points: np.ndarray) -> np.ndarray:
    """Where fixed points lie in the follow-up, in mm beside them."""
    p = (points - CENTRE) / 60.0
    return np.stack([3 * p[:, 2], 2 * np.sin(p[:, 0]), 8 * p[:, 2] - 4 * p[:, 1]], axis=1)


def scans(grid: Grid) -> tuple[Image, Image, Image, DisplacementField]:
    """Return baseline, follow-up, the baseline's lungs, and the exact motion."""
    where = grid.voxel_to_world(np.argwhere(np.ones(grid.shape))[:, ::-1].astype(float))
    motion = stretch(where)
    fixed, moving = thorax(where + motion), thorax(where)
    noise = np.random.default_rng(2).normal(0, 15, (2, len(where)))
    return (
        Image((fixed["hu"] + noise[0]).reshape(grid.shape).astype(np.int16), grid),
        Image((moving["hu"] + noise[1]).reshape(grid.shape).astype(np.int16), grid),
        Image(fixed["lungs"].reshape(grid.shape), grid),
        DisplacementField(motion.reshape(*grid.shape, 3).astype(np.float32), grid),
    )


def grid_like(direction: str) -> Grid:
    size, spacing = (80, 46, 46), (2.5, 2.5, 3.0)
    matrix = GRIDS[direction].direction
    grid = Grid(size, spacing, (0.0, 0.0, 0.0), matrix)
    origin = CENTRE - grid.centre
    return replace(grid, origin=(float(origin[0]), float(origin[1]), float(origin[2])))


@pytest.fixture(scope="module", params=["lps", "oblique"])
def pair(request: pytest.FixtureRequest) -> tuple[Image, Image, Image, DisplacementField]:
    return scans(grid_like(request.param))


def test_doubt_follows_the_true_error(pair: tuple[Image, Image, Image, DisplacementField]) -> None:
    fixed, moving, lungs, exact = pair
    where = exact.grid.voxel_to_world(np.argwhere(np.ones(exact.grid.shape))[:, ::-1].astype(float))
    # A prediction that is right in one lung and ever more wrong in the other.
    wrong = np.clip(where[:, 0] - CENTRE[0], 0, None) / 10
    vectors = exact.vectors + (wrong[:, None] * [0.0, 1.0, 0.0]).reshape(exact.vectors.shape)
    guess = DisplacementField(vectors.astype(np.float32), exact.grid)
    found = propose_landmarks(fixed, moving, lungs, guess, method="guess", settings=SETTINGS, corrfield=NEAR)
    pairs = found.pairs
    error = np.linalg.norm(pairs.moving - pairs.fixed - stretch(pairs.fixed), axis=1)
    assert error.max() > 5.0
    assert spearmanr(found.doubt, error).statistic > 0.6
    assert np.median(found.doubt[error < 0.5]) < 1.5
    assert np.median(found.doubt[error > 4.0]) > 3.0
    assert pairs.weight is not None
    np.testing.assert_allclose(pairs.weight, np.exp(-((found.doubt / 2.0) ** 2)))
    assert pairs.ids == tuple(str(n) for n in range(1, 41))
    assert pairs.origin == ("predicted:guess",) * 40


def test_doubt_has_the_length_of_a_known_mistake(pair: tuple[Image, Image, Image, DisplacementField]) -> None:
    fixed, moving, lungs, exact = pair
    points = distinctive_points(fixed, lungs, settings=SETTINGS, corrfield=NEAR)
    right = doubts(fixed, moving, exact, points, settings=SETTINGS)
    shifted = DisplacementField((exact.vectors + np.array([0, 0, 6.0])).astype(np.float32), exact.grid)
    wrong = doubts(fixed, moving, shifted, points, settings=SETTINGS)
    assert np.median(right) < 1.5
    assert np.median(wrong) == pytest.approx(6.0, abs=2.0)


def test_a_field_of_any_grid_predicts_the_same(pair: tuple[Image, Image, Image, DisplacementField]) -> None:
    fixed, moving, lungs, exact = pair
    coarse = exact.on(Grid.covering(fixed.grid, 5.0))
    found, expected = (
        propose_landmarks(fixed, moving, lungs, field, method="x", settings=SETTINGS, corrfield=NEAR)
        for field in (coarse, exact)
    )
    np.testing.assert_array_equal(found.pairs.fixed, expected.pairs.fixed)
    np.testing.assert_allclose(found.pairs.moving, expected.pairs.moving, atol=0.1)
    assert np.abs(found.doubt - expected.doubt).mean() < 0.2


def test_points_lie_in_the_lung_and_are_distinctive(pair: tuple[Image, Image, Image, DisplacementField]) -> None:
    fixed, _, lungs, _ = pair
    points = distinctive_points(fixed, lungs, settings=SETTINGS, corrfield=NEAR)
    voxels = fixed.grid.world_to_voxel(points)
    np.testing.assert_allclose(voxels, np.rint(voxels), atol=1e-6)
    i, j, k = np.rint(voxels).astype(int).T
    assert lungs.array[k, j, i].all()
    scores = keypoint_scores(fixed.array.astype(np.float32), lungs.array, sigma=NEAR.sigma, erosion=NEAR.erosion)
    assert scores[k[0], j[0], i[0]] == scores.max()
    assert (np.diff(scores[k, j, i]) <= 0).all()
    spread = np.std(fixed.array[lungs.array])
    around = [fixed.array[c - 1 : c + 2, b - 1 : b + 2, a - 1 : a + 2].std() for a, b, c in zip(i, j, k, strict=True)]
    assert np.median(around) > 0.5 * spread


def test_what_does_not_fit_is_refused(pair: tuple[Image, Image, Image, DisplacementField]) -> None:
    fixed, moving, lungs, exact = pair
    other = Image(moving.array[1:], replace(moving.grid, size=(80, 46, 45)))
    far = DisplacementField(exact.vectors, replace(exact.grid, origin=(0.0, 0.0, 0.0)))
    for call, code in (
        (
            lambda: propose_landmarks(fixed, other, lungs, exact, method="x", settings=SETTINGS, corrfield=NEAR),
            "grid_mismatch",
        ),
        (
            lambda: propose_landmarks(fixed, moving, lungs, far, method="x", settings=SETTINGS, corrfield=NEAR),
            "no_overlap",
        ),
        (lambda: distinctive_points(fixed, lungs, settings=LandmarksSettings(count=10_000)), "too_few_points"),
        (lambda: distinctive_points(fixed, Image(lungs.array & False, fixed.grid)), "empty_mask"),
    ):
        with pytest.raises(BadInputError) as caught:
            call()
        assert caught.value.code == code, caught.value.message
