"""Field quality: exact for affine fields on every orientation, right order on curved ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io import fields
from lcsd.io.field_size import MOST_FIELD_GIB, check_field_size
from lcsd.io.fields import (
    DisplacementField,
    field_grid,
    field_quality,
    jacobian_determinant,
    read_field,
    read_vectors,
    write_field,
)
from lcsd.io.images import Image
from tests.grids import GRIDS

ORIENTED = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())


def world(grid: Grid) -> np.ndarray:
    """World positions of all voxel centres, (z, y, x, 3)."""
    z, y, x = np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")
    return grid.voxel_to_world(np.stack([x, y, z], axis=-1).astype(np.float64))


def affine_field(grid: Grid, matrix: np.ndarray) -> DisplacementField:
    """u(x) = (A - I)(x - c): the point map is affine with linear part A."""
    vectors = (world(grid) - grid.centre) @ (matrix - np.eye(3)).T
    return DisplacementField(vectors.astype(np.float32), grid)


def rotation(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    a = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -a[2], a[1]], [a[2], 0, -a[0]], [-a[1], a[0], 0]])
    t = np.deg2rad(degrees)
    return np.eye(3) + np.sin(t) * cross + (1 - np.cos(t)) * cross @ cross


@ORIENTED
@pytest.mark.parametrize(
    ("matrix", "determinant"),
    [
        (np.eye(3), 1.0),
        (rotation((1, 2, 3), 50), 1.0),
        (np.diag([1.2, 0.9, 0.5]), 0.54),
        (np.array([[1.0, 0.4, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), 1.0),
        (np.diag([-1.0, 1.0, 1.0]), -1.0),
        (rotation((0, 1, 1), 30) @ np.diag([1.1, 1.2, 1.3]), 1.716),
    ],
    ids=["nothing", "rotation", "scaling", "shear", "mirror", "both"],
)
def test_affine_fields_are_exact(grid: Grid, matrix: np.ndarray, determinant: float) -> None:
    found = jacobian_determinant(affine_field(grid, matrix))
    assert found.shape == grid.shape
    np.testing.assert_allclose(found, determinant, atol=2e-5)


@ORIENTED
def test_quadratic_field_against_its_derivative(grid: Grid) -> None:
    # u_x = q x^2 gives det J = 1 + 2 q x; central differences are exact on quadratics, so all
    # but the one-sided border must agree.
    q = 2e-3
    x = world(grid)[..., 0] - grid.centre[0]
    vectors = np.zeros((*grid.shape, 3))
    vectors[..., 0] = q * x**2
    found = jacobian_determinant(DisplacementField(vectors.astype(np.float32), grid))
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(found[inner], (1 + 2 * q * x)[inner], atol=1e-4)


def test_sine_field_converges_with_the_square_of_the_spacing() -> None:
    def error(spacing: float) -> float:
        count = round(24 / spacing)
        grid = Grid((count, 3, 3), (spacing, 1.0, 1.0), (0.0, 0.0, 0.0))
        x = world(grid)[..., 0]
        vectors = np.zeros((*grid.shape, 3), dtype=np.float32)
        vectors[..., 0] = np.sin(x / 3)
        found = jacobian_determinant(DisplacementField(vectors, grid))
        return float(np.abs(found - (1 + np.cos(x / 3) / 3))[..., 1:-1].max())

    assert error(0.5) < error(1.0) / 3.5


def test_slabs_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid((5, 4, 23), (1.0, 2.0, 1.5), (0.0, 0.0, 0.0))
    vectors = np.random.default_rng(0).normal(size=(*grid.shape, 3)).astype(np.float32)
    field = DisplacementField(vectors, grid)
    slabbed = jacobian_determinant(field)
    monkeypatch.setattr(fields, "SLAB", 1000)
    np.testing.assert_array_equal(slabbed, jacobian_determinant(field))


def test_single_slice_and_single_voxel_have_no_derivative_there() -> None:
    for size in ((1, 1, 1), (4, 3, 1)):
        grid = Grid(size, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
        field = DisplacementField(np.ones((*grid.shape, 3), dtype=np.float32), grid)
        np.testing.assert_array_equal(jacobian_determinant(field), 1.0)


def test_folds_are_counted_inside_the_mask_only() -> None:
    grid = Grid((12, 10, 8), (1.5, 1.5, 1.5), (0.0, 0.0, 0.0))
    vectors = np.zeros((*grid.shape, 3), dtype=np.float32)
    # A step of -4.5 mm over 3 mm: det J = 1 - 1.5 = -0.5 at the two voxel columns beside it.
    vectors[..., 6:, 0] = -4.5
    mask = np.zeros(grid.shape, dtype=bool)
    mask[:, :, 4:8] = True
    quality = field_quality(DisplacementField(vectors, grid), mask=Image(mask, grid))
    assert quality.voxels == 4 * 10 * 8
    assert quality.folding_voxels == 2 * 10 * 8
    assert quality.folding_percent == pytest.approx(50.0)
    assert quality.min_jacobian == pytest.approx(-0.5)
    # Where it does not fold det J is 1 everywhere, so its logarithm does not vary.
    assert quality.std_log_jacobian == pytest.approx(0.0)


def test_std_of_log_is_that_of_the_definition() -> None:
    grid = Grid((40, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    vectors = np.zeros((*grid.shape, 3), dtype=np.float32)
    vectors[..., 20:, 0] = 0.5 * np.arange(20)
    quality = field_quality(DisplacementField(vectors, grid))
    # Along x: 20 voxels of 1, one of 1.25 (central over the kink), 19 of 1.5.
    logs = np.log([1.0] * 20 + [1.25] + [1.5] * 19)
    assert quality.std_log_jacobian == pytest.approx(float(logs.std()), abs=1e-6)
    assert quality.voxels == 640


def test_all_folding_has_no_logarithm() -> None:
    quality = field_quality(affine_field(GRIDS["lps"], np.diag([-1.0, 1.0, 1.0])))
    assert quality.folding_percent == 100.0
    assert quality.std_log_jacobian is None


def test_mask_on_another_grid_is_sampled() -> None:
    coarse = Grid((6, 5, 4), (3.0, 3.0, 3.0), (0.75, 0.75, 0.75))
    fine = Grid((12, 10, 8), (1.5, 1.5, 1.5), (0.0, 0.0, 0.0))
    mask = np.zeros(coarse.shape, dtype=bool)
    mask[1, 2, 3] = True
    field = DisplacementField(np.zeros((*fine.shape, 3), dtype=np.float32), fine)
    assert field_quality(field, mask=Image(mask, coarse)).voxels == 8


@ORIENTED
@pytest.mark.parametrize("direction", ["lps", "oblique"])
def test_field_on_another_grid_is_the_field_at_its_voxels(grid: Grid, direction: str) -> None:
    rng = np.random.default_rng(5)
    field = DisplacementField(rng.normal(size=(*grid.shape, 3)).astype(np.float32), grid)
    assert field.on(grid) is field
    # Another orientation, and places beyond the field.
    other = Grid.covering(replace(GRIDS[direction], origin=grid.origin), 2.2)
    found = field.on(other)
    np.testing.assert_allclose(found.vectors.reshape(-1, 3), field.at(world(other).reshape(-1, 3)), atol=1e-5)


@ORIENTED
def test_coarse_field_has_the_quality_of_the_fine_one(grid: Grid) -> None:
    """Derivatives are in mm on the field's own grid, and half a mask's voxels make one of the field."""
    fine = replace(grid, size=(12, 8, 6), spacing=(1.5, 1.5, 1.5))
    field = affine_field(fine, np.diag([1.2, 0.9, 0.5]))
    # Linear is exact on affine fields except beyond the outermost voxels.
    mask = np.zeros(fine.shape, dtype=bool)
    mask[2:4, 2:6, 2:10] = True
    region = Image(mask, fine)
    coarse = affine_field(Grid.covering(fine, 3.0), np.diag([1.2, 0.9, 0.5]))
    np.testing.assert_allclose(field.on(coarse.grid).vectors, coarse.vectors, atol=1e-5)
    figures = field_quality(coarse, mask=region)
    assert figures.voxels == mask.sum() / 8
    assert figures.mean_jacobian == pytest.approx(0.54, abs=1e-5)
    mask[2, 2, 2:4] = False
    assert field_quality(coarse, mask=region).voxels == 8


def test_mask_beside_the_field_is_refused() -> None:
    far = Grid((4, 4, 4), (1.5, 1.5, 1.5), (900.0, 0.0, 0.0))
    mask = Image(np.ones(far.shape, dtype=bool), far)
    with pytest.raises(BadInputError, match=r"\[no_overlap\]"):
        field_quality(affine_field(GRIDS["lps"], np.eye(3)), mask=mask)


@ORIENTED
def test_grid_of_a_field_covers_the_image_or_is_refused(grid: Grid) -> None:
    assert field_grid(grid, None) is grid
    assert field_grid(grid, 3.0).same_as(Grid.covering(grid, 3.0))
    with pytest.raises(BadInputError) as caught:
        field_grid(grid, 1e-3)
    assert caught.value.code == "field_too_large"


@pytest.mark.parametrize("spacing_mm", [1e-300, 1e-6, 0.5])
def test_refused_field_names_the_smallest_spacing_that_fits(spacing_mm: float) -> None:
    extent = (336.0, 288.0, 500.0)
    with pytest.raises(BadInputError) as caught:
        check_field_size(extent, spacing_mm, field="--field-mm")
    assert caught.value.code == "field_too_large"
    least = (np.prod(extent) * 12 / 2**30 / MOST_FIELD_GIB) ** (1 / 3)
    assert f"{np.ceil(100 * least) / 100:g} mm" in caught.value.message
    check_field_size(extent, np.ceil(100 * least) / 100, field="--field-mm")


def test_a_thin_image_has_one_voxel_across() -> None:
    check_field_size((100_000.0, 100_000.0, 1.0), 50.0, field="--field-mm")


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr"])
@pytest.mark.parametrize("name", ["lps", "ras", "oblique", "anisotropic"])
def test_fields_that_itk_wrote_as_metaimage_or_nrrd_are_read(name: str, suffix: str, tmp_path: Path) -> None:
    grid = GRIDS[name]
    vectors = np.random.default_rng(1).normal(size=(*grid.shape, 3)).astype(np.float32)
    write_field(tmp_path / "field.nii.gz", DisplacementField(vectors, grid))
    path = tmp_path / f"field{suffix}"
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "field.nii.gz")), str(path))
    found = read_field(path)
    assert found.grid.same_as(grid)
    np.testing.assert_array_equal(found.vectors, vectors)


@pytest.mark.parametrize(
    ("suffix", "old", "new", "code"),
    [
        (".nrrd", "left-posterior-superior", "right-anterior-superior", "no_geometry"),
        (".nrrd", "kinds: vector", "kinds: domain", "not_3d"),
        (".mha", "ElementNumberOfChannels = 3", "ElementNumberOfChannels = 2", "not_3d"),
        (".mha", "Offset =", "Nothing =", "no_geometry"),
        (".mha", "DimSize = 5", "DimSize = 6", "truncated_file"),
    ],
)
def test_a_field_whose_header_says_something_else_is_refused(
    suffix: str, old: str, new: str, code: str, tmp_path: Path
) -> None:
    image = sitk.GetImageFromArray(np.zeros((7, 6, 5, 3), np.float32), isVector=True)
    path = tmp_path / f"field{suffix}"
    sitk.WriteImage(image, str(path))
    raw = path.read_bytes()
    assert raw.count(old.encode()) == 1
    path.write_bytes(raw.replace(old.encode(), new.encode()))
    with pytest.raises(BadInputError) as caught:
        read_field(path)
    assert caught.value.code == code
    assert caught.value.file == str(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_scan_is_no_field_and_nan_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"field{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6), np.float32)), str(path))
    with pytest.raises(BadInputError) as caught:
        read_field(path)
    assert caught.value.code == "not_3d"
    vectors = np.zeros((4, 5, 6, 3), np.float32)
    vectors[1, 2, 3, 0] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(vectors, isVector=True), str(path))
    with pytest.raises(BadInputError) as caught:
        read_field(path)
    assert caught.value.code == "non_finite"


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_vectors_in_voxels_are_not_read_from_formats_of_itk(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"disp_0001_0002{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.float32), isVector=True), str(path))
    with pytest.raises(BadInputError) as caught:
        read_vectors(path, inner=(3,))
    assert (caught.value.code, caught.value.found) == ("unknown_format", suffix)
