"""Volumes survive the disk in every orientation, and bad ones are named."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from lcsd.errors import BadInputError
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.fields import DisplacementField, read_field, write_field
from lcsd.io.images import Image, read_image, read_mask, read_rigid, resample, write_image, write_mask, write_rigid
from tests.grids import GRIDS

each_grid = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())


def noise(grid: Grid) -> Image:
    values = np.random.default_rng(0).integers(-1000, 400, size=grid.shape)
    return Image(values.astype(np.int16), grid)


@each_grid
def test_image_round_trip_agrees_with_itk(grid: Grid, tmp_path: Path) -> None:
    image = noise(grid)
    write_image(tmp_path / "a.nii.gz", image, dtype=np.int16)
    back = read_image(tmp_path / "a.nii.gz")
    assert back.grid.same_as(grid)
    assert back.array.dtype == np.int16
    np.testing.assert_array_equal(back.array, image.array)
    itk = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    point = grid.voxel_to_world(np.array([4.0, 3.0, 2.0]))
    assert itk[itk.TransformPhysicalPointToIndex(point.tolist())] == image.array[2, 3, 4]


def test_header_has_both_forms_and_equal_volumes_are_equal_bytes(tmp_path: Path) -> None:
    image = noise(GRIDS["oblique"])
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.nii.gz", image, dtype=np.int16)
    header = nibabel.load(tmp_path / "a.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert not list(tmp_path.glob(".*tmp*"))


def test_float_values_are_rounded_and_clipped_not_wrapped(tmp_path: Path) -> None:
    grid = Grid((2, 2, 2), (1, 1, 1), (0, 0, 0))
    values = np.array([-40000.0, -0.6, 0.4, 40000.0, 1, 2, 3, 4], dtype=np.float32)
    write_image(tmp_path / "a.nii.gz", Image(values.reshape(2, 2, 2), grid), dtype=np.int16)
    assert read_image(tmp_path / "a.nii.gz").array.ravel()[:4].tolist() == [-32768, -1, 0, 32767]


@each_grid
def test_field_is_an_itk_displacement_field(grid: Grid, tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(*grid.shape, 3)).astype(np.float32)
    write_field(tmp_path / "f.nii.gz", DisplacementField(vectors, grid))
    back = read_field(tmp_path / "f.nii.gz")
    assert back.grid.same_as(grid)
    np.testing.assert_array_equal(back.vectors, vectors)
    itk = sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "f.nii.gz"), sitk.sitkVectorFloat64))
    points = grid.voxel_to_world(np.random.default_rng(2).uniform(0.1, 4.9, size=(20, 3)))
    moved = np.array([itk.TransformPoint(p.tolist()) for p in points])
    np.testing.assert_allclose(points + back.at(points), moved, atol=1e-4)


def test_field_outside_takes_the_nearest_face() -> None:
    grid = GRIDS["oblique"]
    field = DisplacementField(np.full((*grid.shape, 3), 2.5, np.float32), grid)
    far = grid.voxel_to_world(np.array([[-50.0, 3, 90]]))
    np.testing.assert_allclose(field.at(far), 2.5)


@each_grid
def test_resample_finds_the_same_world_point(grid: Grid) -> None:
    """Voxels hold their own world x; after a rigid move the sample must be the moved x."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.size], indexing="ij"), axis=-1)
    world_x = grid.voxel_to_world(index.astype(float))[..., 0].transpose(2, 1, 0)
    move = RigidTransform(GRIDS["oblique"].matrix, np.array([3.0, -2.0, 1.0]))
    inner = grid.voxel_to_world(np.array([5.0, 4.0, 3.0]))
    target = Grid.centred(move.inverse().apply(inner), size=(3, 3, 3), spacing_mm=0.2)
    sampled = resample(Image(world_x.astype(np.float32), grid), target, transform=move)
    corners = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1).astype(float)
    expected = move.apply(target.voxel_to_world(corners))[..., 0].transpose(2, 1, 0)
    np.testing.assert_allclose(sampled.array, expected, atol=1e-3)


def test_rigid_round_trip_and_itk_direction(tmp_path: Path) -> None:
    move = RigidTransform(GRIDS["oblique"].matrix, np.array([3.0, -2.0, 1.0]))
    write_rigid(tmp_path / "r.tfm", move)
    point = np.array([10.0, 20.0, -30.0])
    np.testing.assert_allclose(read_rigid(tmp_path / "r.tfm").apply(point), move.apply(point))
    itk = sitk.ReadTransform(str(tmp_path / "r.tfm"))
    np.testing.assert_allclose(itk.TransformPoint(point.tolist()), move.apply(point))


def test_non_rigid_transform_is_refused(tmp_path: Path) -> None:
    scale = sitk.AffineTransform(3)
    scale.Scale(1.1)
    sitk.WriteTransform(scale, str(tmp_path / "r.tfm"))
    with pytest.raises(BadInputError, match="not rigid"):
        read_rigid(tmp_path / "r.tfm")
    (tmp_path / "r.tfm").write_text("hello")
    with pytest.raises(BadInputError, match="not a readable"):
        read_rigid(tmp_path / "r.tfm")


def test_two_rigid_transforms_in_a_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.tfm"
    write_rigid(path, RigidTransform(np.eye(3), np.array([3.0, 0.0, 0.0])))
    text = path.read_text()
    path.write_text(text + text[text.index("#Transform 0") :].replace("#Transform 0", "#Transform 1"))
    with pytest.raises(BadInputError, match="several transforms") as caught:
        read_rigid(path)
    assert caught.value.code == "several_transforms"


def nifti(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return path


def expect(path: Path, code: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read_image(path)
    assert caught.value.code == code
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


def test_bad_volumes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    expect(path, "missing_file")
    expect(nifti(path, np.zeros((4, 4, 4, 2), np.int16)), "not_3d")
    expect(nifti(path, np.zeros((4, 4), np.int16)), "not_3d")
    expect(nifti(path, np.zeros((4, 4, 1), np.int16)), "not_3d")
    expect(nifti(path, np.full((4, 4, 4), np.nan, np.float32)), "non_finite")
    colour = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    expect(nifti(path, colour), "bad_type")
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    expect(nifti(path, np.zeros((4, 4, 4), np.int16), sheared), "sheared_affine")
    # Its voxel sizes are those of the scan before: the shear is still what is wrong.
    image = nibabel.Nifti1Image(np.zeros((4, 4, 40), np.int16), np.eye(4))
    image.set_qform(np.eye(4), 0)
    image.set_sform(sheared, 1)
    nibabel.save(image, path)
    expect(path, "sheared_affine")


def test_truncated_and_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    write_image(path, noise(GRIDS["lps"]), dtype=np.int16)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    expect(path, "truncated_file")
    path.write_bytes(b"")
    expect(path, "truncated_file")
    path.write_bytes(gzip.compress(b"not a nifti" * 100))
    expect(path, "truncated_file")
    path.write_bytes(gzip.compress(gzip.decompress(whole)[:400]))
    expect(path, "truncated_file")


def test_disagreeing_or_absent_forms(tmp_path: Path) -> None:
    volume = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    volume.set_qform(np.diag([-1.0, 1, 1, 1]), 1)
    volume.set_sform(np.eye(4), 1)
    nibabel.save(volume, tmp_path / "a.nii.gz")
    expect(tmp_path / "a.nii.gz", "sform_qform_disagree")
    volume.set_qform(np.eye(4), 0)
    volume.set_sform(np.eye(4), 0)
    nibabel.save(volume, tmp_path / "a.nii.gz")
    expect(tmp_path / "a.nii.gz", "no_geometry")


def test_mask_empty_other_grid_and_labels(tmp_path: Path) -> None:
    grid = GRIDS["lps"]
    labels = Image(np.zeros(grid.shape, np.uint8), grid)
    write_mask(tmp_path / "m.nii.gz", labels)
    with pytest.raises(BadInputError, match="empty"):
        read_mask(tmp_path / "m.nii.gz")
    labels.array[1, 2, 3] = 2
    write_mask(tmp_path / "m.nii.gz", labels)
    assert read_mask(tmp_path / "m.nii.gz").array.sum() == 1
    assert read_mask(tmp_path / "m.nii.gz", keep_labels=True).array.max() == 2
    with pytest.raises(BadInputError, match="another grid"):
        read_mask(tmp_path / "m.nii.gz", like=GRIDS["ras"])


def test_bad_fields(tmp_path: Path) -> None:
    grid = GRIDS["lps"]
    vectors = np.zeros((*grid.shape, 3), np.float32)
    vectors[0, 0, 0, 0] = np.nan
    write_field(tmp_path / "f.nii.gz", DisplacementField(vectors, grid))
    with pytest.raises(BadInputError, match="NaN"):
        read_field(tmp_path / "f.nii.gz")
    write_image(tmp_path / "f.nii.gz", noise(grid), dtype=np.int16)
    with pytest.raises(BadInputError, match="not a displacement field"):
        read_field(tmp_path / "f.nii.gz")


def test_displacement_intent_is_stored_in_ras_as_itk_does(tmp_path: Path) -> None:
    grid = GRIDS["oblique"]
    vectors = np.random.default_rng(1).normal(size=(*grid.shape, 3)).astype(np.float32)
    data = (vectors * [-1, -1, 1]).transpose(2, 1, 0, 3)[:, :, :, None]
    volume = nibabel.Nifti1Image(data.astype(np.float32), grid.affine_ras())
    volume.header.set_intent("displacement vector")
    nibabel.save(volume, tmp_path / "f.nii.gz")
    np.testing.assert_allclose(read_field(tmp_path / "f.nii.gz").vectors, vectors, atol=1e-6)
    itk = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "f.nii.gz")))
    np.testing.assert_allclose(itk, vectors, atol=1e-6)
