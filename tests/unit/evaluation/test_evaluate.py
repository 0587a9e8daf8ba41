"""Landmark errors: known motion, frames, wrong frames, and circularity."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lcsd.errors import BadInputError
from lcsd.evaluation.evaluate import LANDMARK_COLUMNS, evaluate_tre
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.fields import DisplacementField
from lcsd.io.images import Image
from lcsd.io.points import PointPairs
from lcsd.landmarks.common_space import to_common_space
from tests.grids import GRIDS

GRID = Grid((30, 24, 20), (1.5, 1.5, 1.5), (-20.0, -260.0, -120.0))
TURN = RigidTransform(np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.array([5.0, -7.0, 30.0]))


def points(count: int = 12, seed: int = 0, grid: Grid = GRID) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return grid.voxel_to_world(rng.uniform(1, np.asarray(grid.size) - 2, size=(count, 3)))


def shift_field(vector: tuple[float, float, float], grid: Grid = GRID) -> DisplacementField:
    return DisplacementField(np.full((*grid.shape, 3), vector, dtype=np.float32), grid)


def test_perfect_field_has_no_error_and_zero_field_all_of_it() -> None:
    fixed = points()
    landmarks = PointPairs(fixed, fixed + np.array([3.0, 0.0, 4.0]))
    perfect = evaluate_tre(landmarks, field=shift_field((3.0, 0.0, 4.0)))
    np.testing.assert_allclose(perfect.tre, 0.0, atol=1e-9)
    np.testing.assert_allclose(perfect.before, 5.0)
    nothing = evaluate_tre(landmarks, field=shift_field((0.0, 0.0, 0.0)))
    np.testing.assert_allclose(nothing.tre, 5.0)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_affine_field_is_sampled_between_voxels_on_every_orientation(grid: Grid) -> None:
    matrix = np.array([[0.02, 0.01, 0.0], [-0.03, 0.0, 0.05], [0.0, 0.04, -0.02]])
    z, y, x = np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")
    where = grid.voxel_to_world(np.stack([x, y, z], axis=-1).astype(np.float64))
    field = DisplacementField(((where - grid.centre) @ matrix.T).astype(np.float32), grid)
    fixed = points(grid=grid)
    moving = fixed + (fixed - grid.centre) @ matrix.T
    result = evaluate_tre(PointPairs(fixed, moving), field=field)
    assert result.tre.max() < 1e-4
    assert result.before.max() > 0.1


def test_native_landmarks_go_through_the_inverse_of_the_rigid_transform() -> None:
    fixed = points()
    common_moving = fixed + np.array([1.0, 2.0, 2.0])
    native = PointPairs(fixed, TURN.apply(common_moving))
    result = evaluate_tre(native, field=shift_field((1.0, 2.0, 0.0)), rigid=TURN)
    np.testing.assert_allclose(result.landmarks.moving, common_moving)
    np.testing.assert_allclose(result.tre, 2.0, atol=1e-6)
    np.testing.assert_allclose(result.before, 3.0)
    np.testing.assert_allclose(result.native, np.linalg.norm(fixed - native.moving, axis=1))


def test_common_landmarks_with_and_without_the_rigid_transform() -> None:
    landmarks = PointPairs(points(), points() + np.array([0.0, 1.0, 0.0]))
    without = evaluate_tre(landmarks, field=shift_field((0.0, 0.0, 0.0)))
    assert without.native is None
    assert without.figures()["tre_native_mean_mm"] is None
    both = evaluate_tre(landmarks, field=shift_field((0.0, 0.0, 0.0)), rigid=TURN, landmarks_frame="common")
    np.testing.assert_allclose(both.before, 1.0)
    expected = np.linalg.norm(landmarks.fixed - TURN.apply(landmarks.moving), axis=1)
    np.testing.assert_allclose(both.native, expected)


def test_native_landmarks_without_rigid_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"\[missing_rigid\]"):
        to_common_space(PointPairs(points(), points()), rigid=None, frame="native")


def test_figures_have_units_and_agree_with_the_errors() -> None:
    fixed = points(50)
    landmarks = PointPairs(fixed, fixed + np.random.default_rng(1).normal(size=(50, 3)))
    result = evaluate_tre(landmarks, field=shift_field((0.0, 0.0, 0.0)), method="mine")
    figures = result.figures()
    assert figures["method"] == "mine"
    assert figures["count"] == 50
    assert figures["extrapolation"] == "none"
    assert figures["circular"] is None
    assert figures["tre_mean_mm"] == pytest.approx(result.tre.mean())
    assert figures["tre_p95_mm"] == pytest.approx(np.percentile(result.tre, 95))
    assert figures["tre_before_max_mm"] == pytest.approx(result.before.max())
    assert (figures["folding_percent"], figures["jacobian_region"]) == (0.0, "field")
    assert figures["std_log_jacobian"] == pytest.approx(0.0)


def test_rows_follow_the_columns() -> None:
    fixed = points(2)
    landmarks = PointPairs(fixed, fixed + 1.0, ids=("a", "b"))
    rows = evaluate_tre(landmarks, field=shift_field((1.0, 1.0, 0.0))).rows()
    assert [tuple(row) for row in rows] == [LANDMARK_COLUMNS] * 2
    assert rows[1]["id"] == "b"
    assert rows[1]["moved_y"] == f"{fixed[1, 1] + 1:.4f}"
    assert (rows[1]["tre_mm"], rows[1]["tre_native_mm"]) == ("1.0000", "")


def outside(change: Callable[[np.ndarray], np.ndarray]) -> BadInputError:
    fixed = points()
    landmarks = PointPairs(change(fixed), change(fixed), ids=tuple("abcdefghijkl"))
    with pytest.raises(BadInputError) as caught:
        evaluate_tre(landmarks, field=shift_field((0.0, 0.0, 0.0)), file=Path("landmarks.csv"))
    assert caught.value.code == "landmark_outside"
    return caught.value


def test_ras_landmarks_are_recognised() -> None:
    error = outside(lambda p: p * [-1.0, -1.0, 1.0])
    assert "RAS" in error.message
    assert "landmarks.csv: line 2, id a" in error.message


def test_voxel_landmarks_are_recognised() -> None:
    assert "voxel indices" in outside(GRID.world_to_voxel).message


def test_one_landmark_outside_is_named_with_its_position() -> None:
    def spoil(p: np.ndarray) -> np.ndarray:
        p = p.copy()
        p[4] = [500.0, 1.0, 2.0]
        return p

    message = outside(spoil).message
    assert "line 6, id e" in message
    assert "(500.0, 1.0, 2.0)" in message
    assert "1 of 12" in message


def test_landmark_at_the_outermost_voxel_is_inside() -> None:
    corners = GRID.corners()
    evaluate_tre(PointPairs(corners, corners), field=shift_field((0.0, 0.0, 0.0)))


def test_mask_volume_bounds_the_landmarks_too() -> None:
    small = Grid((4, 4, 4), (1.5, 1.5, 1.5), GRID.origin)
    mask = Image(np.ones(small.shape, dtype=bool), small)
    with pytest.raises(BadInputError, match="landmark_outside"):
        evaluate_tre(PointPairs(points(), points()), field=shift_field((0, 0, 0)), mask=mask)


def test_moving_landmark_may_leave_the_volume_but_not_by_hundreds_of_mm() -> None:
    fixed = points()
    field = shift_field((0.0, 0.0, 0.0))
    evaluate_tre(PointPairs(fixed, fixed + np.array([60.0, 0.0, 0.0])), field=field)
    with pytest.raises(BadInputError, match=r"\[landmark_outside\]"):
        evaluate_tre(PointPairs(fixed, fixed + np.array([0.0, 400.0, 0.0])), field=field)


def test_repeated_id_and_wrong_usage_are_refused() -> None:
    twice = PointPairs(points(2), points(2), ids=("a", "a"))
    with pytest.raises(BadInputError, match="point 2, id a: .*duplicate_id"):
        evaluate_tre(twice, field=shift_field((0.0, 0.0, 0.0)))
    one = PointPairs(points(2), points(2))
    with pytest.raises(BadInputError, match=r"\[bad_usage\]"):
        evaluate_tre(one)
    with pytest.raises(BadInputError, match=r"\[bad_usage\]"):
        evaluate_tre(one, field=shift_field((0.0, 0.0, 0.0)), correspondences=one)


def test_unequal_counts_and_nan_are_refused() -> None:
    field = shift_field((0.0, 0.0, 0.0))
    with pytest.raises(BadInputError, match=r"\[length_mismatch\]"):
        evaluate_tre(PointPairs(points(3), points(2)), field=field)
    broken = points(3)
    broken[1, 1] = np.nan
    with pytest.raises(BadInputError, match=r"\[non_finite_points\]"):
        evaluate_tre(PointPairs(points(3), broken), field=field)


def affine_pairs(count: int, seed: int) -> PointPairs:
    fixed = points(count, seed)
    matrix = np.eye(3) + 0.05 * np.array([[1, 0, 2], [0, -1, 0], [1, 1, 0]])
    return PointPairs(fixed, (fixed - GRID.centre) @ matrix.T + GRID.centre + [2.0, -3.0, 1.0])


def test_spline_carries_affine_motion_exactly() -> None:
    result = evaluate_tre(affine_pairs(20, 1), correspondences=affine_pairs(60, 2))
    assert result.extrapolation == "tps"
    assert result.tre.max() < 1e-3
    assert result.before.min() > 0.5
    assert result.quality is None
    assert result.figures()["folding_percent"] is None
    assert result.circular_landmarks == 0


def test_landmarks_that_are_correspondences_are_circular() -> None:
    pairs = affine_pairs(60, 2)
    seeded = PointPairs(pairs.fixed[:7], pairs.moving[:7] + 1e-4)
    result = evaluate_tre(seeded, correspondences=pairs)
    assert result.circular_landmarks == 7
    assert result.figures()["circular"] is True
    # The same fixed voxel with a motion of its own is no circularity.
    independent = PointPairs(pairs.fixed[:7], pairs.moving[:7] + 1.0)
    assert evaluate_tre(independent, correspondences=pairs).figures()["circular"] is False


@pytest.mark.slow
def test_divroc_extrapolation_carries_a_shift() -> None:
    fixed = points(400, 3)
    pairs = PointPairs(fixed, fixed + np.array([2.0, -1.0, 3.0]))
    inner = GRID.voxel_to_world(np.random.default_rng(4).uniform(6, 14, size=(10, 3)))
    landmarks = PointPairs(inner, inner + np.array([2.0, -1.0, 3.0]))
    result = evaluate_tre(landmarks, correspondences=pairs, extrapolate="divroc")
    assert result.extrapolation == "divroc"
    assert result.tre.max() < 0.05


def test_landmarks_far_from_all_correspondences_are_refused() -> None:
    far = PointPairs(points(3) + np.array([0.0, 700.0, 0.0]), points(3) + np.array([0.0, 700.0, 0.0]))
    with pytest.raises(BadInputError, match="landmark_outside"):
        evaluate_tre(far, correspondences=affine_pairs(30, 5))


def test_landmarks_are_not_taken_for_voxels_of_correspondences() -> None:
    # Counted from the corner of the box around the correspondences all would lie inside it.
    small = points(3) * 0.01 + 120.0
    with pytest.raises(BadInputError, match=r"\[landmark_outside\]") as caught:
        evaluate_tre(PointPairs(small, small), correspondences=affine_pairs(30, 5))
    assert "voxel indices" not in caught.value.message
