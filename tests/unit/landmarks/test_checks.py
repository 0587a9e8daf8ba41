"""Checks of landmarks: which frame was meant, and what is listed for review."""

import numpy as np
import pytest

from lcsd.errors import BadInputError
from lcsd.geometry import Grid, flip_lps_ras
from lcsd.io.images import Image
from lcsd.io.points import PointPairs
from lcsd.landmarks.checks import check_landmarks, outliers
from lcsd.settings.landmarks import LandmarksSettings

GRID = Grid((40, 50, 60), (2.0, 1.5, 1.0), (-150.0, -200.0, -330.0))
RNG = np.random.default_rng(3)
VOXELS = RNG.uniform(2, 38, (30, 3))
INSIDE = GRID.voxel_to_world(VOXELS)


def code_of(points: np.ndarray) -> tuple[str, str]:
    with pytest.raises(BadInputError) as caught:
        check_landmarks(PointPairs(points, points), fixed=GRID)
    return caught.value.code, caught.value.message


def test_points_inside_pass_and_outside_are_refused() -> None:
    found = check_landmarks(PointPairs(INSIDE, INSIDE), fixed=GRID, moving=GRID)
    assert found.rows == []
    assert found.figures["landmarks"] == 30
    code, message = code_of(np.vstack([INSIDE, [[500.0, 500.0, 500.0]]]))
    assert code == "landmark_outside"
    assert "point 31" in message
    with pytest.raises(BadInputError, match=r"\[landmark_outside\]"):
        check_landmarks(PointPairs(INSIDE, INSIDE + 300.0), fixed=GRID, moving=GRID)


@pytest.mark.parametrize(
    ("points", "hint"),
    [
        (flip_lps_ras(INSIDE), "file is in RAS"),
        (VOXELS, "begin with 0"),
        (np.vstack([VOXELS, [[40.0, 50.0, 60.0]]]), "begin with 1"),
        (np.array([[59.0, 3.0, 1.0], [2.0, 49.0, 39.0]]), "order z, y, x"),
    ],
)
def test_a_wrong_frame_is_told(points: np.ndarray, hint: str) -> None:
    code, message = code_of(points)
    assert code == "wrong_frame"
    assert hint in message


def test_repeated_ids_are_an_error_and_near_positions_a_finding() -> None:
    with pytest.raises(BadInputError, match="duplicate_id"):
        check_landmarks(PointPairs(INSIDE[:2], INSIDE[:2], ids=("a", "a")))
    moving = INSIDE.copy()
    moving[4] = moving[9] + [0.0, 0.3, 0.0]
    found = check_landmarks(PointPairs(INSIDE, moving, ids=tuple(map(str, range(30)))))
    assert [(r["finding"], r["id"], r["scan"]) for r in found.rows] == [
        ("same_position", "4", "moving"),
        ("same_position", "9", "moving"),
    ]
    assert found.rows[0]["mm"] == "0.300"


def test_points_outside_the_mask_are_listed_with_their_distance() -> None:
    array = np.zeros(GRID.shape, dtype=bool)
    array[:, :, :20] = True
    points = GRID.voxel_to_world(np.array([[19.0, 5, 5], [22.0, 5, 5]]))
    found = check_landmarks(PointPairs(points, points), mask=Image(array, GRID))
    assert [(r["row"], r["mm"]) for r in found.rows] == [(2, "6.000")]
    beyond = GRID.voxel_to_world(np.array([[-9.0, 5, 5], [5.0, 5, 5]]))
    found = check_landmarks(PointPairs(beyond, beyond), mask=Image(array, GRID))
    # The mask reaches to the grid's border; its nearest voxel is 9 voxels of 2 mm away.
    assert [(r["row"], r["mm"]) for r in found.rows] == [(1, "18.000")]
    with pytest.raises(BadInputError, match="empty_mask"):
        check_landmarks(PointPairs(points, points), mask=Image(array & False, GRID))


def test_outliers_against_correspondences_are_listed_worst_first() -> None:
    place = RNG.uniform(-60, 60, (200, 3))
    turn = np.array([[1.02, 0.03, 0.0], [-0.03, 0.97, 0.01], [0.0, 0.02, 1.05]])
    correspondences = PointPairs(place, place @ turn.T + [5.0, -9.0, 14.0])
    fixed = RNG.uniform(-50, 50, (40, 3))
    moving = fixed @ turn.T + [5.0, -9.0, 14.0] + RNG.normal(0, 0.5, (40, 3))
    moving[7] += [0.0, 12.0, 0.0]
    moving[21] += [0.0, 0.0, -20.0]
    pairs = PointPairs(fixed, moving)
    found = check_landmarks(pairs, correspondences=correspondences)
    assert [r["row"] for r in found.rows] == [22, 8]
    assert found.figures["outlier"] == 2
    assert found.figures["residual_limit_mm"] == pytest.approx(5.0)
    # Where everything is off by about the same, nothing stands out.
    shifted = PointPairs(fixed, moving + np.array([9.0, 0.0, 0.0]))
    apart, limit = outliers(shifted, correspondences, LandmarksSettings(outlier_mm=0.0))
    assert limit > 9.0
    assert (apart > limit).sum() <= 2


def test_the_limit_is_five_standard_deviations_above_the_median() -> None:
    place = RNG.uniform(-60, 60, (50, 3))
    still = PointPairs(place, place)
    fixed = RNG.uniform(-50, 50, (5, 3))
    apart = np.array([[10.0, 0, 0], [11, 0, 0], [12, 0, 0], [13, 0, 0], [20, 0, 0]])
    found, limit = outliers(PointPairs(fixed, fixed + apart), still, LandmarksSettings())
    np.testing.assert_allclose(found, apart[:, 0], atol=1e-6)
    # Median 12, median absolute deviation 1: of a normal distribution it is 0.6745 of sigma.
    assert limit == pytest.approx(12 + 5 / 0.67449, abs=1e-3)
