"""Alignment of masks: known transforms on every grid, cuts, breathing, borders."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from threadpoolctl import threadpool_limits

from lcsd.geometry import Grid, RigidTransform
from lcsd.io.images import Image, read_mask
from lcsd.selection.overlap import Overlap, align_masks, border_areas
from tests.grids import GRIDS
from tests.unit.selection.masks import cut, grid_around, lungs, miss_mm, rigid

ORIGIN = np.zeros(3)
TURNED = rigid((4, -3, 5), (30, -20, 250))


def align(fixed: Image, moving: Image, spacing_mm: float = 4.5) -> Overlap:
    return align_masks(fixed, moving, spacing_mm=spacing_mm)


@pytest.fixture(scope="module")
def fixed() -> Image:
    return lungs(grid_around(ORIGIN))


OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in ("lps", "ras", "left_handed", "permuted")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["oblique", *OTHERS])
def test_known_transform_is_found_on_every_orientation(fixed: Image, name: str) -> None:
    matrix = GRIDS[name].matrix
    moving = lungs(grid_around(TURNED.apply(ORIGIN), (2.0, 2.2, 4.0), matrix), TURNED)
    found = align(fixed, moving)
    assert miss_mm(fixed, found.rigid, TURNED) < 0.3  # a tenth of a voxel
    assert found.dice > 0.97
    assert found.shared == 1.0


@pytest.mark.slow
def test_large_turn_is_found_and_swapping_the_scans_inverts_it(fixed: Image) -> None:
    truth = rigid((20, -15, 18), (0, 5, -40))
    moving = lungs(grid_around(truth.apply(ORIGIN)), truth)
    there, back = align(fixed, moving), align(moving, fixed)
    assert miss_mm(fixed, there.rigid, truth) < 0.4
    assert miss_mm(moving, back.rigid, truth.inverse()) < 0.4
    assert there.dice == pytest.approx(back.dice, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize(("low", "high"), [(27, 0), (0, 20)])
def test_a_cut_lung_does_not_look_like_motion(fixed: Image, low: int, high: int) -> None:
    moving = cut(lungs(grid_around(TURNED.apply(ORIGIN)), TURNED), low, high)
    lost = 1 - moving.array.sum() / fixed.array.sum()
    assert lost > 0.1
    for one, two, truth in ((fixed, moving, TURNED), (moving, fixed, TURNED.inverse())):
        found = align(one, two)
        assert miss_mm(one, found.rigid, truth) < 1.5
        assert found.dice > 0.955
        assert found.shared == pytest.approx(1 - lost, abs=0.03)


@pytest.mark.slow
def test_scan_that_ends_below_a_shallow_breath_still_shows_the_motion(fixed: Image) -> None:
    """Beyond a face without lung there is no lung: the deep breath's bases count as motion."""
    high = lungs(fixed.grid, breath_mm=40.0)
    empty = int(np.flatnonzero(high.array.any(axis=(1, 2)))[0])
    short = cut(high, empty - 1)
    whole, ended = align(fixed, high, 4.0), align(fixed, short, 4.0)
    assert ended.shared == 1.0
    assert ended.dice == pytest.approx(whole.dice, abs=0.01)
    assert ended.dice < 0.93


@pytest.mark.slow
def test_dice_falls_with_the_depth_of_breath(fixed: Image) -> None:
    grid = grid_around(TURNED.apply(ORIGIN))
    dice = [align(fixed, lungs(grid, TURNED, breath), 4.0).dice for breath in (0, 10, 25, 45)]
    assert all(a - b > 0.01 for a, b in pairwise(dice)), dice


@pytest.mark.slow
def test_dice_equals_counting_voxels_of_one_grid(fixed: Image) -> None:
    """With the transform that was found, on the fixed grid itself, by definition."""
    moving = lungs(grid_around(TURNED.apply(ORIGIN)), TURNED, 25.0)
    found = align(fixed, moving)
    z, y, x = np.indices(fixed.array.shape).reshape(3, -1).astype(float)
    there = found.rigid.apply(fixed.grid.voxel_to_world(np.stack([x, y, z], axis=1)))
    voxel = np.rint(moving.grid.world_to_voxel(there)).astype(int)
    inside = ((voxel >= 0) & (voxel < moving.grid.size)).all(axis=1)
    other = np.zeros(len(voxel), bool)
    i, j, k = voxel[inside].T
    other[inside] = moving.array[k, j, i]
    one = fixed.array.ravel()
    expected = 2 * (one & other).sum() / (one.sum() + other.sum())
    assert found.dice == pytest.approx(expected, abs=0.01)


def test_border_areas_by_definition() -> None:
    array = np.zeros((4, 5, 6), bool)
    array[0, 1, 2] = array[0, 1, 0] = array[2, 4, 5] = True
    areas = border_areas(Image(array, Grid((6, 5, 4), (10.0, 20.0, 30.0), (0.0, 0.0, 0.0))))
    # Rows: first and last voxel along x, y, z; a voxel's face is 6, 3 and 2 cm2.
    assert areas.tolist() == [[6.0, 0.0, 4.0], [6.0, 3.0, 0.0]]


@pytest.mark.parametrize("where", [pytest.param((2, 2, 2), marks=pytest.mark.slow), (0, 0, 0)])
def test_one_voxel_and_masks_that_do_not_meet_still_give_figures(fixed: Image, where: tuple[int, int, int]) -> None:
    array = np.zeros((5, 5, 5), bool)
    array[where] = True
    speck = Image(array, Grid((5, 5, 5), (30.0, 30.0, 30.0), (0.0, 0.0, 0.0)))
    for one, two in ((fixed, speck), (speck, fixed), (speck, speck)):
        found = align(one, two)
        assert 0 <= found.dice <= 1
        assert np.isfinite(found.rigid.translation).all()


@pytest.mark.slow
def test_equal_bits_for_any_number_of_threads(fixed: Image) -> None:
    moving = lungs(grid_around(TURNED.apply(ORIGIN)), TURNED, 20.0)
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    found = []
    try:
        for threads in (1, 3):
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
            with threadpool_limits(threads):
                result = align_masks(fixed, moving, spacing_mm=4.0)
            rigid_bytes = (result.rigid.rotation.tobytes(), result.rigid.translation.tobytes())
            found.append((result.dice.hex(), *rigid_bytes))
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.real_data
def test_real_right_lung_against_itself_moved(real_data: Path) -> None:
    mask = read_mask(real_data / "right_lung" / "fixed_mask.nii.gz")
    truth = rigid((6, -5, 7), (12, -8, 20))
    grid = mask.grid
    turned = truth.rotation @ grid.matrix
    origin = truth.apply(np.asarray(grid.origin))
    moved = Image(
        mask.array,
        Grid(grid.size, grid.spacing, tuple(map(float, origin)), tuple(turned.ravel())),  # type: ignore[arg-type]
    )
    found = align(mask, moved)
    assert miss_mm(mask, found.rigid, truth) < 0.3
    assert found.dice > 0.97


@pytest.mark.slow
@pytest.mark.real_data
def test_real_right_lung_pair(real_data: Path) -> None:
    fixed, moving = (read_mask(real_data / "right_lung" / f"{name}_mask.nii.gz") for name in ("fixed", "moving"))
    found = align(fixed, moving)
    print(f"right lung pair: Dice {found.dice:.4f}, shared {found.shared:.4f}")  # noqa: T201
    centred = RigidTransform(np.eye(3), np.array([0.0, 0.0, 0.0]))
    assert 0.8 < found.dice < 0.98
    assert miss_mm(fixed, found.rigid, centred) > 20  # the two scans share no frame
