"""Landmarks: snapping, origins, and frames told by the mask."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lcsd.errors import BadInputError
from lcsd.evaluation.evaluate import evaluate_tre
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.fields import DisplacementField
from lcsd.io.images import Image
from lcsd.io.points import PointPairs
from lcsd.landmarks.common_space import check_in_common_space, count_seeded, origins, snapped
from lcsd.readings.in_mask import in_mask
from tests.grids import GRIDS


def nearest_centre(point: np.ndarray, grid: Grid) -> np.ndarray:
    """The oracle: of all voxel centres, the nearest along each axis of the image."""
    best, least = None, np.inf
    for index in np.ndindex(*grid.size):
        centre = grid.voxel_to_world(np.array(index, dtype=np.float64))
        away = float(np.linalg.norm(centre - point))
        if away < least:
            best, least = centre, away
    assert best is not None
    return best


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_snapped_points_are_the_nearest_voxel_centres(grid: Grid) -> None:
    rng = np.random.default_rng(0)
    points = grid.voxel_to_world(rng.uniform(-0.49, np.asarray(grid.size) - 0.51, size=(12, 3)))
    expected = [nearest_centre(point, grid) for point in points]
    np.testing.assert_allclose(snapped(points, grid), expected, atol=1e-9)


def test_lattice_goes_on_outside_the_image() -> None:
    grid = Grid((2, 2, 2), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    np.testing.assert_allclose(snapped(np.array([[8.9, -3.2, 1.1]]), grid), [[8.0, -4.0, 2.0]])


def field(grid: Grid, vector: tuple[float, float, float]) -> DisplacementField:
    return DisplacementField(np.full((*grid.shape, 3), vector, dtype=np.float32), grid)


def test_error_is_measured_from_the_snapped_point() -> None:
    grid = Grid((20, 20, 20), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    pairs = PointPairs(np.array([[5.0, 5, 5], [6.0, 6, 6]]), np.array([[5.0, 5, 8], [6.0, 6, 8]]))
    image = Grid((20, 20, 8), (1.0, 1.0, 2.5), (0.0, 0.0, 0.0))
    result = evaluate_tre(pairs, field=field(grid, (0.0, 0.0, 1.4)), snap=image)
    # 6.4 and 7.4 mm are slices 2.56 and 2.96 of 2.5 mm, so both snap to slice 3 at 7.5 mm.
    np.testing.assert_allclose(result.moved[:, 2], 7.5)
    np.testing.assert_allclose(result.tre, 0.5)
    np.testing.assert_allclose(result.before, [3.0, 2.0])
    assert result.figures()["snapped"] is True
    assert evaluate_tre(pairs, field=field(grid, (0.0, 0.0, 1.4))).figures()["snapped"] is False


@pytest.mark.slow
def test_native_landmarks_snap_to_the_voxels_of_the_native_scan() -> None:
    """Oblique and with odd spacings, so that every other lattice is a wrong one."""
    grid = Grid((20, 20, 20), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    native = Grid((40, 36, 20), (0.83, 1.07, 2.41), (-20.3, -15.6, 10.9))
    turn = Rotation.from_euler("xyz", [11.0, -17.0, 23.0], degrees=True).as_matrix()
    rigid = RigidTransform(turn, np.array([5.3, -7.1, 30.7]))
    rng = np.random.default_rng(0)
    fixed = rng.uniform(4, 12, size=(8, 3))
    moving = rigid.apply(fixed + rng.normal(size=(8, 3)))
    result = evaluate_tre(PointPairs(fixed, moving), field=field(grid, (1.0, 0.5, 0.2)), rigid=rigid, snap=native)
    carried = rigid.apply(fixed + np.array([1.0, 0.5, 0.2]))
    assert native.contains(carried).all()
    expected = [nearest_centre(point, native) - moving[i] for i, point in enumerate(carried)]
    np.testing.assert_allclose(result.tre, np.linalg.norm(expected, axis=1), atol=1e-5)


def test_margin_around_a_volume_is_in_millimetres() -> None:
    # Faces at z = -1.5 and 28.5, x at -0.25 and 4.75.
    grid = Grid((10, 10, 10), (0.5, 1.0, 3.0), (0.0, 0.0, 0.0))
    fixed = np.array([[2.0, 5.0, 10.0]])
    for moving, inside in (
        ([2.0, 5.0, 128.0], True),
        ([2.0, 5.0, 129.0], False),
        ([-100.0, 5.0, 10.0], True),
        ([-101.0, 5.0, 10.0], False),
    ):
        pairs = PointPairs(fixed, np.array([moving]))
        if inside:
            check_in_common_space(pairs, [grid], file=None)
        else:
            with pytest.raises(BadInputError, match=r"\[landmark_outside\]") as caught:
                check_in_common_space(pairs, [grid], file=None)
            assert caught.value.code == "landmark_outside"


def test_origins_are_counted_and_seeds_are_the_methods_own() -> None:
    origin = ("manual", "corrected:corrfield", "predicted:divroc", "", "corrected:CorrField")
    pairs = PointPairs(np.zeros((5, 3)), np.zeros((5, 3)), origin=origin)
    assert origins(pairs) == {
        "corrected:CorrField": 1,
        "corrected:corrfield": 1,
        "manual": 1,
        "predicted:divroc": 1,
        "unknown": 1,
    }
    assert count_seeded(pairs, "corrfield") == count_seeded(pairs, "CorrField") == 2
    assert count_seeded(pairs, "divroc") == 1
    assert count_seeded(pairs, "corr") == 0
    assert count_seeded(pairs, "") == 0
    silent = PointPairs(np.zeros((5, 3)), np.zeros((5, 3)))
    assert origins(silent) is None
    assert count_seeded(silent, "divroc") is None


def test_seeded_landmarks_are_in_the_figures_and_the_table() -> None:
    grid = Grid((9, 9, 9), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    fixed = np.full((2, 3), 4.0)
    pairs = PointPairs(fixed, fixed, origin=("predicted:divroc", "manual"))
    # The rigid step makes new landmarks of them; the origin goes with it.
    result = evaluate_tre(pairs, field=field(grid, (0.0, 0.0, 0.0)), rigid=RigidTransform.identity(), method="divroc")
    figures = result.figures()
    assert figures["seeded_landmarks"] == 1
    assert figures["landmark_origins"] == {"manual": 1, "predicted:divroc": 1}
    assert [row["origin"] for row in result.rows()] == ["predicted:divroc", "manual"]


MASK_GRID = Grid((40, 40, 40), (2.0, 2.0, 2.0), (-40.0, -40.0, -40.0))


def mask() -> Image:
    """A block beside the middle: mirrored, it is somewhere else in the same volume."""
    array = np.zeros(MASK_GRID.shape, dtype=bool)
    array[10:20, 24:36, 26:34] = True
    return Image(array, MASK_GRID)


def in_block(count: int = 20) -> np.ndarray:
    rng = np.random.default_rng(0)
    return MASK_GRID.voxel_to_world(rng.uniform((26, 24, 10), (33, 35, 19), size=(count, 3)))


def test_in_mask_is_the_nearest_voxels_value() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-50, 50, size=(300, 3))
    image = mask()
    for point, found in zip(points, in_mask(points, image), strict=True):
        x, y, z = np.rint(MASK_GRID.world_to_voxel(point)).astype(int)
        inside = MASK_GRID.contains(point[None])[0] and min(x, y, z) >= 0 and max(x, y, z) < 40
        assert found == bool(inside and image.array[z, y, x])


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (in_block() * [-1.0, -1.0, 1.0], "with x and y negated: the file is in RAS"),
        (MASK_GRID.world_to_voxel(in_block()), "voxel indices"),
    ],
)
def test_frames_that_stay_in_the_volume_are_told_by_the_mask(points: np.ndarray, words: str) -> None:
    nothing = field(MASK_GRID, (0.0, 0.0, 0.0))
    evaluate_tre(PointPairs(points, points), field=nothing)
    with pytest.raises(BadInputError, match=words) as caught:
        evaluate_tre(PointPairs(points, points), field=nothing, mask=mask())
    assert caught.value.code == "landmark_outside"


def test_landmarks_beside_the_mask_in_every_frame_are_counted_only() -> None:
    nothing = field(MASK_GRID, (0.0, 0.0, 0.0))
    points = in_block()
    good = evaluate_tre(PointPairs(points, points), field=nothing, mask=mask())
    assert good.figures()["landmarks_outside_mask"] == 0
    beside = points + np.array([0.0, 0.0, 40.0])
    result = evaluate_tre(PointPairs(beside, beside), field=nothing, mask=mask())
    assert result.figures()["landmarks_outside_mask"] == 20
