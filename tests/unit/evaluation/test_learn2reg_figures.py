"""Figures of the Learn2Reg challenge against its formulas, voxel by voxel."""

import itertools

import numpy as np
import pytest

from lcsd.errors import BadInputError
from lcsd.evaluation.learn2reg_figures import (
    LabelMaps,
    dice,
    learn2reg_figures,
    pattern_areas,
    robust_hausdorff,
    sdlogj,
    warped,
)
from lcsd.geometry import Grid
from lcsd.io.images import Image
from lcsd.transforms.learn2reg import VoxelDisplacements

SIZE = (9, 8, 10)
GRID = Grid(SIZE, (1.5, 1.25, 2.0), (-20.0, 5.0, 3.0))
FACE, EDGE, CORNER = 1.0, np.sqrt(0.5), np.sqrt(3) / 8
"""Area of the surface around a corner of voxels: of a plane, of an edge and of a corner of a box."""


def field(seed: int = 0, scale: float = 1.5) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=scale, size=(*SIZE, 3)).astype(np.float32)


def sdlogj_by_voxel(disp: np.ndarray, inside: np.ndarray | None = None) -> tuple[float, int]:
    """The challenge's formula, and the number of folds."""
    values, folds = [], 0
    for voxel in itertools.product(*(range(2, n - 2) for n in SIZE)):
        if inside is not None and not inside[voxel]:
            continue
        jacobian = np.eye(3)
        for axis in range(3):
            step = np.eye(3, dtype=int)[axis]
            ahead, behind = disp[tuple(voxel + step)], disp[tuple(voxel - step)]
            jacobian[:, axis] += (ahead.astype(float) - behind) / 2
        determinant = float(np.linalg.det(jacobian))
        folds += determinant <= 0
        values.append(np.log(min(max(determinant + 3, 1e-9), 1e9)))
    return float(np.std(values)), folds


def test_sdlogj_is_that_of_the_formula_also_where_the_field_folds() -> None:
    disp = field()
    expected, folds = sdlogj_by_voxel(disp)
    assert folds > 10
    assert sdlogj(disp) == pytest.approx(expected, rel=1e-6)
    inside = np.random.default_rng(1).random(SIZE) < 0.5
    assert sdlogj(disp, inside) == pytest.approx(sdlogj_by_voxel(disp, inside)[0], rel=1e-6)
    assert sdlogj(disp, inside) != pytest.approx(expected, rel=1e-3)


def test_sdlogj_of_a_shift_is_zero_and_a_small_field_or_mask_is_refused() -> None:
    assert sdlogj(np.full((5, 5, 5, 3), 2.5)) == 0.0
    with pytest.raises(BadInputError, match=r"\[small_grid\]"):
        sdlogj(np.zeros((5, 4, 5, 3)))
    with pytest.raises(BadInputError, match=r"\[empty_mask\]"):
        sdlogj(field(), np.zeros(SIZE, dtype=bool))


def test_labels_are_warped_to_the_nearest_voxel_and_0_outside() -> None:
    moving = np.random.default_rng(2).integers(0, 4, size=(7, 11, 9))
    disp = field(3)
    expected = np.zeros(SIZE, dtype=int)
    for voxel in np.ndindex(*SIZE):
        place = np.array(voxel) + disp[voxel].astype(float)
        # Outside begins at the outermost voxel centres.
        if (place >= 0).all() and (place <= np.array(moving.shape) - 1).all():
            expected[voxel] = moving[tuple(np.floor(place + 0.5).astype(int))]
    np.testing.assert_array_equal(warped(moving, disp), expected)


def box(low: tuple[int, int, int], high: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def hausdorff_by_element(boxes: list[tuple[tuple[int, int, int], tuple[int, int, int]]]) -> float:
    """95 % of the surface of two boxes, from the definition: elements at the corners of their voxels."""
    surfaces = []
    for low, high in boxes:
        elements = {}
        for at in itertools.product(*(range(a, b + 1) for a, b in zip(low, high, strict=True))):
            sides = sum(x in (a, b) for x, a, b in zip(at, low, high, strict=True))
            if sides:
                elements[at] = {1: FACE, 2: EDGE, 3: CORNER}[sides]
        surfaces.append(elements)
    ends = []
    for one, other in (surfaces, surfaces[::-1]):
        apart = sorted((min(np.linalg.norm(np.subtract(a, b)) for b in other), area) for a, area in one.items())
        total, reached = sum(one.values()), 0.0
        for distance, area in apart:
            reached += area
            if reached / total >= 0.95:
                ends.append(float(distance))
                break
    return max(ends)


@pytest.mark.parametrize(
    "boxes",
    [
        [((1, 1, 1), (5, 5, 5)), ((1, 1, 1), (5, 5, 5))],
        [((1, 1, 1), (5, 5, 5)), ((2, 1, 3), (6, 5, 7))],
        [((0, 0, 0), (9, 8, 10)), ((3, 3, 3), (4, 5, 6))],
        [((0, 2, 1), (3, 4, 3)), ((5, 1, 4), (9, 8, 10))],
    ],
)
def test_robust_hausdorff_of_boxes(boxes: list[tuple[tuple[int, int, int], tuple[int, int, int]]]) -> None:
    masks = [box(*part) for part in boxes]
    assert robust_hausdorff(*masks) == pytest.approx(hausdorff_by_element(boxes))
    assert robust_hausdorff(*masks) == robust_hausdorff(*masks[::-1])


def test_areas_are_those_of_a_plane_an_edge_and_a_corner() -> None:
    areas = pattern_areas()
    assert areas[[0, 255]].tolist() == [0.0, 0.0]
    assert areas[[0b1111, 0b11, 0b1]] == pytest.approx([FACE, EDGE, CORNER])
    # A pattern and its complement share their surface.
    np.testing.assert_allclose(areas, areas[::-1])
    assert (areas[1:-1] > 0).all()


def test_dice_and_a_label_that_is_warped_away() -> None:
    first, second = box((0, 0, 0), (4, 4, 4)), box((2, 0, 0), (6, 4, 4))
    assert dice(first, second) == pytest.approx(0.5)
    assert robust_hausdorff(first, np.zeros_like(first)) == float("inf")


def image(array: np.ndarray, grid: Grid = GRID) -> Image:
    return Image(array.transpose(2, 1, 0), grid)


def test_figures_are_means_over_labels_that_both_maps_have() -> None:
    fixed, moving = np.zeros(SIZE, dtype=np.int16), np.zeros(SIZE, dtype=np.int16)
    fixed[1:4, 1:5, 1:6], fixed[5:8, 1:5, 1:6], fixed[0, 0, 0] = 1, 2, 3
    moving[2:5, 1:5, 1:6], moving[5:8, 1:5, 1:6], moving[8, 7, 9] = 1, 2, 4
    disp = VoxelDisplacements(np.zeros((*SIZE, 3), dtype=np.float32), GRID, GRID)
    found = learn2reg_figures(disp, labels=LabelMaps(image(fixed), image(moving)))
    # Label 1 shares two of three layers, label 2 is equal once label 1 does not cover it.
    assert found.dice == pytest.approx(np.mean([2 / 3, 1.0]))
    hd = [robust_hausdorff(fixed == label, moving == label) for label in (1, 2)]
    assert found.hd95_voxels == pytest.approx(np.mean(hd))
    assert hd[0] > 0
    assert found.sdlogj == 0.0
    assert learn2reg_figures(disp, labels=LabelMaps(image(fixed), image(moving * 0))).dice is None
    away = VoxelDisplacements(np.full((*SIZE, 3), 30.0, dtype=np.float32), GRID, GRID)
    lost = learn2reg_figures(away, labels=LabelMaps(image(fixed), image(moving)))
    assert (lost.dice, lost.hd95_voxels) == (0.0, None)


def test_other_grids_and_fractions_are_refused() -> None:
    disp = VoxelDisplacements(field(), GRID, GRID)
    labels = np.ones(SIZE)
    small = Image(np.ones((4, 4, 4)), Grid((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    with pytest.raises(BadInputError, match=r"\[grid_mismatch\].*") as caught:
        learn2reg_figures(disp, mask=small)
    assert "9 x 8 x 10" in caught.value.message
    with pytest.raises(BadInputError, match=r"\[grid_mismatch\]"):
        learn2reg_figures(disp, labels=LabelMaps(image(labels), small))
    with pytest.raises(BadInputError, match=r"\[bad_labels\]"):
        learn2reg_figures(disp, labels=LabelMaps(image(labels * 0.5), image(labels)))
