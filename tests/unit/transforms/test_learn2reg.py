"""Learn2Reg fields: that challenge's own formula, every orientation, and broken files."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from lcsd.errors import BadInputError
from lcsd.evaluation.evaluate import evaluate_tre
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField, jacobian_determinant, read_field, write_field
from lcsd.io.points import PointPairs
from lcsd.transforms.learn2reg import VoxelDisplacements, read_disp
from tests.grids import GRIDS

ORIENTED = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
MATRIX = np.array([[0.05, 0.02, 0.0], [-0.03, 0.0, 0.04], [0.0, 0.06, -0.05]])


def disp_of(grid: Grid) -> np.ndarray:
    """The voxel displacements of the world motion ``u(x) = M (x - c)``, one voxel at a time."""
    disp = np.zeros((*grid.size, 3), dtype=np.float32)
    for index in np.ndindex(*grid.size):
        x = grid.voxel_to_world(np.array(index, dtype=np.float64))
        moved = x + MATRIX @ (x - grid.centre)
        disp[index] = grid.world_to_voxel(moved) - index
    return disp


def write(path: Path, disp: np.ndarray, affine: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(disp, affine), path)
    return path


def voxels(grid: Grid, count: int = 20) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, np.asarray(grid.size) - 1, size=(count, 3))


@ORIENTED
@pytest.mark.parametrize("affine", ["own", "identity"])
def test_known_motion_is_found_on_every_orientation(tmp_path: Path, grid: Grid, affine: str) -> None:
    matrix = grid.affine_ras() if affine == "own" else np.eye(4)
    path = write(tmp_path / "disp_0001_0002.nii.gz", disp_of(grid), matrix)
    disp = read_disp(path, grid=None if affine == "own" else grid)
    # At voxel centres, where splines are exact: near a border they do not follow a slope.
    fixed = grid.voxel_to_world(np.rint(voxels(grid)))
    moving = fixed + (fixed - grid.centre) @ MATRIX.T
    result = evaluate_tre(PointPairs(fixed, moving), disp=disp)
    assert result.before.max() > 0.1
    assert result.tre.max() < 1e-3
    assert result.source == "disp"
    assert result.quality is not None
    assert result.quality.mean_jacobian == pytest.approx(np.linalg.det(np.eye(3) + MATRIX), abs=1e-3)


@ORIENTED
def test_field_in_millimetres_is_the_same_motion_voxel_by_voxel(grid: Grid) -> None:
    rng = np.random.default_rng(1)
    disp = rng.normal(size=(*grid.size, 3)).astype(np.float32)
    moving = Grid((9, 9, 9), (2.0, 1.0, 3.0), (5.0, 6.0, 7.0), GRIDS["permuted"].direction)
    vectors = VoxelDisplacements(disp, grid, moving).field().vectors
    for x, y, z in ((0, 0, 0), (3, 1, 2), (10, 7, 5)):
        start = grid.voxel_to_world(np.array([x, y, z], dtype=np.float64))
        end = moving.voxel_to_world(np.array([x, y, z]) + disp[x, y, z].astype(np.float64))
        np.testing.assert_allclose(vectors[z, y, x], end - start, rtol=1e-5)


def test_errors_are_those_of_the_challenge() -> None:
    """Its formula: cubic splines, voxels, times the spacing of the moving image."""
    grid = GRIDS["anisotropic"]
    disp = np.random.default_rng(2).normal(size=(*grid.size, 3)).astype(np.float32)
    fixed, moving = voxels(grid), voxels(grid)[::-1]
    shift = np.stack([map_coordinates(disp[..., c], fixed.T) for c in range(3)], axis=1)
    expected = np.linalg.norm((fixed + shift - moving) * grid.spacing, axis=1)
    pairs = PointPairs(grid.voxel_to_world(fixed), grid.voxel_to_world(moving))
    result = evaluate_tre(pairs, disp=VoxelDisplacements(disp, grid, grid))
    np.testing.assert_allclose(result.tre, expected, rtol=1e-6)


def test_moving_image_may_have_other_voxels() -> None:
    fixed = Grid((6, 6, 6), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    moving = Grid((6, 6, 6), (2.0, 2.0, 2.0), (100.0, 0.0, 0.0))
    disp = VoxelDisplacements(np.ones((6, 6, 6, 3), dtype=np.float32), fixed, moving)
    start = np.array([[2.0, 3.0, 1.0]])
    np.testing.assert_allclose(start + disp.at(start), [[106.0, 8.0, 4.0]])
    assert jacobian_determinant(disp.field()) == pytest.approx(8.0)


def test_outermost_half_voxel_takes_the_nearest_centre() -> None:
    grid = Grid((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    values = np.zeros((4, 4, 4, 3), dtype=np.float32)
    values[3, ..., 0] = 5.0
    disp = VoxelDisplacements(values, grid, grid)
    np.testing.assert_allclose(disp.at(np.array([[3.4, 1.0, 1.0]])), [[5.0, 0.0, 0.0]], atol=1e-9)


def test_broken_fields_are_named(tmp_path: Path) -> None:
    grid = GRIDS["lps"]
    good = disp_of(grid)
    bad = good.copy()
    bad[1, 2, 3, 0] = np.nan
    path = tmp_path / "disp.nii.gz"

    def expect(code: str, words: str, given: Grid | None = None) -> None:
        with pytest.raises(BadInputError, match=words) as caught:
            read_disp(path, grid=given)
        assert caught.value.code == code
        assert "disp.nii.gz" in caught.value.message

    expect("missing_file", "not found")
    path.write_bytes(b"no gzip")
    expect("truncated_file", "not a readable")
    write(path, bad, grid.affine_ras())
    expect("non_finite", "NaN")
    write(path, good[..., 0], grid.affine_ras())
    expect("bad_field", r"found 11 \* 8 \* 6 ")
    write(path, np.moveaxis(good, 3, 0), grid.affine_ras())
    expect("bad_field", r"found 3 \* 11 \* 8 \* 6")
    write(path, good, grid.affine_ras())
    expect("grid_mismatch", "11 x 8 x 6", Grid((11, 8, 7), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    nowhere = nibabel.Nifti1Image(good, None)
    nowhere.header.set_sform(None, 0)
    nowhere.header.set_qform(None, 0)
    nibabel.save(nowhere, path)
    expect("no_geometry", "codes are 0")
    assert read_disp(path, grid=grid).fixed == grid


def test_fields_under_the_wrong_option_say_which_is_right(tmp_path: Path) -> None:
    grid = GRIDS["lps"]
    vectors = np.zeros((*grid.shape, 3), dtype=np.float32)
    write_field(tmp_path / "itk.nii.gz", DisplacementField(vectors, grid))
    write(tmp_path / "l2r.nii.gz", disp_of(grid), grid.affine_ras())
    with pytest.raises(BadInputError, match="--field"):
        read_disp(tmp_path / "itk.nii.gz")
    with pytest.raises(BadInputError, match="--disp"):
        read_field(tmp_path / "l2r.nii.gz")


def test_numbers_that_are_not_real_are_refused(tmp_path: Path) -> None:
    grid = GRIDS["lps"]
    colour = np.zeros(grid.size, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    for values, found in ((colour, "colours"), (disp_of(grid) + 1j, "complex")):
        path = write(tmp_path / "disp.nii.gz", values, grid.affine_ras())
        with pytest.raises(BadInputError, match=f"expected real numbers; found {found}") as caught:
            read_disp(path)
        assert caught.value.code == "bad_field"
