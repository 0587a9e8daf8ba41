"""ITK transforms of other programs: every kind against its formula, domains, broken files."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lcsd.errors import BadInputError
from lcsd.evaluation.evaluate import evaluate_tre
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField, write_field
from lcsd.io.images import Image
from lcsd.io.points import PointPairs
from lcsd.transforms.parts import carry, domain_of, parts_of, read_transform, sampled
from tests.grids import GRIDS

ORIENTED = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
GRID = GRIDS["oblique"]
MATRIX = np.array([[1.1, 0.1, 0.0], [0.0, 0.9, 0.05], [-0.05, 0.0, 1.2]])
SHIFT = np.array([3.0, -2.0, 1.0])


def points(grid: Grid = GRID, count: int = 9) -> np.ndarray:
    rng = np.random.default_rng(0)
    return grid.voxel_to_world(rng.uniform(1, np.asarray(grid.size) - 2, size=(count, 3)))


def affine() -> sitk.AffineTransform:
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(MATRIX.ravel().tolist())
    transform.SetTranslation(SHIFT.tolist())
    return transform


def bspline(grid: Grid = GRID, size: float = 1.0) -> sitk.BSplineTransform:
    reference = sitk.Image(list(grid.size), sitk.sitkUInt8)
    reference.SetOrigin(grid.origin)
    reference.SetSpacing(grid.spacing)
    reference.SetDirection(grid.direction)
    transform = sitk.BSplineTransformInitializer(reference, [2, 2, 2])
    rng = np.random.default_rng(1)
    transform.SetParameters((size * rng.normal(size=len(transform.GetParameters()))).tolist())
    return transform


def displacement(tmp_path: Path, grid: Grid, vector: np.ndarray) -> sitk.Transform:
    vectors = np.broadcast_to(vector, (*grid.shape, 3)).astype(np.float32)
    write_field(tmp_path / "u.nii.gz", DisplacementField(vectors, grid))
    image = sitk.ReadImage(str(tmp_path / "u.nii.gz"), sitk.sitkVectorFloat64)
    return sitk.DisplacementFieldTransform(image)


@pytest.mark.parametrize("suffix", ["tfm", "txt", "h5", "mat"])
def test_affine_is_read_from_every_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t.{suffix}"
    sitk.WriteTransform(affine(), str(path))
    fixed = points()
    moving = fixed @ MATRIX.T + SHIFT
    result = evaluate_tre(PointPairs(fixed, moving), transform=read_transform(path))
    assert result.tre.max() < 1e-9
    assert (result.source, result.method, result.extrapolation) == ("transform",) * 2 + ("none",)
    # The other direction would be the inverse map.
    assert result.before.min() > 1


@ORIENTED
def test_jacobian_of_an_affine_is_its_determinant_on_the_grid_of_the_mask(grid: Grid) -> None:
    mask = Image(np.indices(grid.shape).sum(axis=0) % 3 > 0, grid)
    fixed = points(grid)
    result = evaluate_tre(PointPairs(fixed, fixed), transform=affine(), mask=mask)
    assert result.quality is not None
    assert result.quality.mean_jacobian == pytest.approx(np.linalg.det(MATRIX), abs=1e-4)
    assert result.quality.std_log_jacobian == pytest.approx(0.0, abs=1e-4)
    assert (result.quality.voxels, result.quality_region) == (mask.array.sum(), "mask")
    without = evaluate_tre(PointPairs(fixed, fixed), transform=affine())
    assert without.quality is None


def test_bspline_field_and_points_agree_and_folds_are_seen() -> None:
    transform = bspline()
    field = sampled(transform, GRID)
    voxels = np.array([[2.0, 3.0, 1.0], [5.0, 4.0, 2.0]])
    where = GRID.voxel_to_world(voxels)
    np.testing.assert_allclose(carry(transform, where) - where, field.at(where), atol=1e-5)
    mask = Image(np.ones(GRID.shape, dtype=bool), GRID)
    fixed = points()
    calm, wild = (
        evaluate_tre(PointPairs(fixed, fixed), transform=bspline(size=s), mask=mask).quality for s in (0.05, 8.0)
    )
    assert calm is not None
    assert wild is not None
    assert calm.folding_voxels == 0
    assert wild.folding_voxels > 0


def test_composite_applies_the_last_part_first_and_nests(tmp_path: Path) -> None:
    field = displacement(tmp_path, GRIDS["lps"], np.array([1.0, 2.0, 3.0]))
    inner = sitk.CompositeTransform([sitk.TranslationTransform(3, (10.0, 0.0, 0.0)), field])
    outer = sitk.CompositeTransform([affine()])
    outer.AddTransform(inner)
    path = tmp_path / "c.h5"
    flat = sitk.CompositeTransform(outer)  # files hold no composite within a composite
    flat.FlattenTransform()
    sitk.WriteTransform(flat, str(path))
    fixed = points(GRIDS["lps"])
    expected = (fixed + np.array([11.0, 2.0, 3.0])) @ MATRIX.T + SHIFT
    np.testing.assert_allclose(carry(outer, fixed), expected, atol=1e-5)
    np.testing.assert_allclose(carry(read_transform(path), fixed), expected, atol=1e-5)
    np.testing.assert_allclose(expected, [outer.TransformPoint(p) for p in fixed], atol=1e-5)


@ORIENTED
def test_domains_are_where_itk_moves_points(tmp_path: Path, grid: Grid) -> None:
    for part in (displacement(tmp_path, grid, np.array([0.5, 0.5, 0.5])), bspline(grid)):
        domain = domain_of(part)
        assert domain is not None
        rng = np.random.default_rng(0)
        corner = np.asarray(domain.size) - 0.5
        inner = domain.voxel_to_world(-0.5 + rng.uniform(0.02, 0.98, (50, 3)) * (corner + 0.5))
        outer = inner + 2 * (inner - domain.centre) + 5 * np.sign(inner - domain.centre)
        moves = [not np.allclose(part.TransformPoint(p), p, atol=1e-9) for p in [*inner, *outer]]
        assert moves == [True] * 50 + [False] * 50
    assert domain_of(affine()) is None


def test_landmarks_outside_a_domain_are_refused_not_left_in_place(tmp_path: Path) -> None:
    small = Grid((3, 3, 3), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    field = displacement(tmp_path, small, np.array([0.5, 0.5, 0.5]))
    pairs = PointPairs(np.array([[1.0, 1, 1], [50.0, 1, 1]]), np.zeros((2, 3)))
    with pytest.raises(BadInputError, match=r"1 of 2 outside, the first in row 2 at \(50") as caught:
        evaluate_tre(pairs, transform=field)
    assert caught.value.code == "landmark_outside"
    # A part before it decides where they get to.
    there = sitk.CompositeTransform([field, sitk.TranslationTransform(3, (90.0, 0.0, 0.0))])
    with pytest.raises(BadInputError, match="2 of 2 outside"):
        carry(there, pairs.fixed)


def test_nan_and_broken_files_are_refused(tmp_path: Path) -> None:
    transform = affine()
    transform.SetTranslation((float("nan"), 0.0, 0.0))
    with pytest.raises(BadInputError) as caught:
        carry(transform, points())
    assert caught.value.code == "non_finite"
    (tmp_path / "a.tfm").write_text("no transform")
    sitk.WriteTransform(sitk.Euler2DTransform(), str(tmp_path / "b.tfm"))
    (tmp_path / "c.xyz").write_text("x")
    for name in ("a.tfm", "b.tfm", "c.xyz"):
        with pytest.raises(BadInputError, match=name) as caught:
            read_transform(tmp_path / name)
        assert caught.value.code == "bad_transform"


def text_of(*parts: str) -> str:
    blocks = (f"#Transform {number}\nTransform: {part}\n" for number, part in enumerate(parts))
    return "#Insight Transform File V1.0\n" + "".join(blocks)


def translation(x: float, y: float, z: float) -> str:
    return f"TranslationTransform_double_3_3\nParameters: {x} {y} {z}\nFixedParameters:"


def test_composite_in_a_text_file_is_one_transform(tmp_path: Path) -> None:
    path = tmp_path / "c.tfm"
    composite = "CompositeTransform_double_3_3"
    path.write_text(text_of(composite, translation(3, 0, 0), translation(0, 3, 3)))
    np.testing.assert_allclose(carry(read_transform(path), np.zeros((1, 3))), [[3.0, 3.0, 3.0]])


def test_kinds_that_simpleitk_does_not_know_are_parts(tmp_path: Path) -> None:
    base = "MatrixOffsetTransformBase_double_3_3\nParameters: 1 0 0 0 1 0 0 0 1 2 0 0\nFixedParameters: 0 0 0"
    path = tmp_path / "c3d.txt"
    path.write_text(text_of(base))
    alone = read_transform(path)
    np.testing.assert_allclose(carry(alone, np.zeros((2, 3))), [[2.0, 0.0, 0.0]] * 2)
    assert len(parts_of(alone)) == 1
    # Wrapped, the domain of what is beside it is still seen.
    field = displacement(tmp_path, GRIDS["lps"], np.array([1.0, 2.0, 3.0]))
    wrapped = sitk.CompositeTransform([sitk.CompositeTransform([field])])
    wrapped.AddTransform(alone)
    assert [domain_of(part) is None for part in parts_of(wrapped)] == [True, False]


def ramp(grid: Grid, at: float) -> sitk.Transform:
    """A field u_x = 0.2 (x - at), whose determinant is 1.2 wherever it is known."""
    x = grid.voxel_to_world(np.indices(grid.shape)[::-1].reshape(3, -1).T.astype(float))[:, 0]
    vectors = np.zeros((*grid.shape, 3))
    vectors[..., 0] = (0.2 * (x - at)).reshape(grid.shape)
    image = sitk.GetImageFromArray(vectors, isVector=True)
    image.SetOrigin(grid.origin)
    image.SetSpacing(grid.spacing)
    return sitk.DisplacementFieldTransform(image)


@pytest.mark.parametrize("shift", [None, 4.0])
def test_quality_keeps_off_the_end_of_a_transform(shift: float | None) -> None:
    part = ramp(Grid((10, 20, 20), (2.0, 2.0, 2.0), (1.0, -9.0, -9.0)), -200.0)
    before = [] if shift is None else [sitk.TranslationTransform(3, (shift, 0.0, 0.0))]
    # The part is known in x from 0 to 20 and moves points by 40 mm there: outside is a cliff.
    transform = sitk.CompositeTransform([part, *before])
    grid = Grid((30, 8, 9), (1.0, 1.0, 1.0), (-5.5, 0.0, 0.0))
    array = np.zeros(grid.shape, dtype=bool)
    array[:, :, :12] = True
    at = np.array([[4.0, 3.0, 3.0]])
    result = evaluate_tre(PointPairs(at, at), transform=transform, mask=Image(array, grid))
    first = 0.0 if shift is None else -shift
    centres = -5.5 + np.arange(12)
    known = int((centres - 1 >= first).sum())
    assert result.quality is not None
    assert (result.quality.voxels, result.quality.folding_voxels) == (known * 72, 0)
    # ITK goes on with the outermost vectors in the last half voxel.
    assert 1.1 < result.quality.min_jacobian < result.quality.mean_jacobian < 1.2001
    assert result.figures()["jacobian_covered_percent"] == pytest.approx(100 * known / 12)


def test_no_quality_where_a_transform_is_unknown() -> None:
    part = ramp(Grid((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), 0.0)
    grid = Grid((9, 9, 9), (2.0, 2.0, 2.0), (-8.0, -8.0, -8.0))
    array = np.zeros(grid.shape, dtype=bool)
    array[:2] = True
    at = np.array([[2.4, 1.3, 2.9]])
    result = evaluate_tre(PointPairs(at, at), transform=part, mask=Image(array, grid))
    assert result.quality is result.quality_region is None
    assert result.figures()["jacobian_covered_percent"] == 0.0
    everywhere = evaluate_tre(PointPairs(at, at), transform=affine(), mask=Image(array, grid))
    assert everywhere.figures()["jacobian_covered_percent"] == 100.0
