"""Conversions between conventions: there and back, and against the libraries that define them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from click.testing import CliRunner, Result
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import gaussian_filter, map_coordinates, zoom

from lcsd.build.provenance import provenance_path
from lcsd.cli.main import main
from lcsd.errors import BadInputError
from lcsd.geometry import Grid, flip_lps_ras
from lcsd.io.fields import NIFTI_DISPLACEMENT_INTENT, DisplacementField, read_field, write_field
from lcsd.io.images import Image, write_image
from lcsd.io.points import PointPairs, write_point_pairs
from lcsd.readings.motion import FIELD_READINGS
from lcsd.transforms.arrays import ARRAY_SUFFIXES
from lcsd.transforms.chain import read_chain
from lcsd.transforms.read import FORMATS, ITK_SUFFIXES
from tests.grids import GRIDS

FOUR = {name: GRIDS[name] for name in ("lps", "ras", "oblique", "anisotropic")}


def motion(grid: Grid, *, size_mm: float = 3.0, seed: int = 0) -> DisplacementField:
    """Return a random smooth field."""
    soft = gaussian_filter(np.random.default_rng(seed).normal(size=(*grid.shape, 3)), (2, 2, 2, 0))
    return DisplacementField((size_mm * soft / np.abs(soft).max()).astype(np.float32), grid)


def places(grid: Grid) -> np.ndarray:
    """Return LPS mm of all voxels, shape (z, y, x, 3)."""
    return np.stack([points for _, points in grid.planes()])


def convert(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["transform", "convert", *map(str, arguments), "--threads", "1", "--json"])
    assert result.exit_code == code, result.output + result.stderr
    return result


def apart(path: Path, field: DisplacementField) -> float:
    """Return the largest distance of a written field in mm from a field."""
    found = read_field(path)
    assert found.grid.same_as(field.grid)
    return float(np.linalg.norm(found.vectors - field.vectors, axis=-1).max())


@pytest.fixture(params=FOUR.values(), ids=FOUR.keys())
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, DisplacementField]:
    """A folder with a field and the fixed image, and the field."""
    field = motion(request.param)
    write_field(tmp_path / "field.nii.gz", field)
    write_image(tmp_path / "fixed.nii.gz", Image(np.zeros(field.grid.shape, np.int16), field.grid), dtype=np.int16)
    return tmp_path, field


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "back"),
    [
        ("t.h5", (), ()),
        ("t.tfm", (), ()),
        ("t.h5", ("--to-format", "slicer"), ()),
        ("Warp.nii.gz", ("--to-format", "ants"), ("--from-format", "ants")),
        ("disp_0001_0002.nii.gz", (), ()),
        ("disp_0001_0002.npz", (), ("--grid",)),
        ("flow.npz", ("--to-as", "voxel"), ("--field-as", "voxel", "--grid")),
        ("flow.npy", ("--to-as", "voxel-zyx", "--to-axes", "zyx"), ("--field-as", "voxel-zyx", "--grid")),
        ("flow.pt", ("--to-as", "normalised", "--to-layout", "last"), ("--field-as", "normalised", "--grid")),
    ],
)
def test_every_convention_comes_back(
    case: tuple[Path, DisplacementField], name: str, options: Sequence[str], back: Sequence[str]
) -> None:
    folder, field = case
    shown = json.loads(convert(folder / "field.nii.gz", folder / name, *options).stdout)
    assert shown["difference_max_mm"] < 1e-3
    grid = [folder / "fixed.nii.gz"] if back[-1:] == ("--grid",) else []
    convert(folder / name, folder / "back.nii.gz", *back, *grid)
    assert apart(folder / "back.nii.gz", field) < 1e-3
    assert provenance_path(folder / name).exists()


@pytest.mark.slow
@pytest.mark.parametrize("reading", FIELD_READINGS)
def test_every_meaning_of_an_array_comes_back(case: tuple[Path, DisplacementField], reading: str) -> None:
    folder, field = case
    convert(folder / "field.nii.gz", folder / "flow.npy", "--to-as", reading)
    stored = np.load(folder / "flow.npy")
    assert stored.shape == (3, *field.grid.size)
    convert(folder / "flow.npy", folder / "back.nii.gz", "--field-as", reading, "--grid", folder / "fixed.nii.gz")
    assert apart(folder / "back.nii.gz", field) < 1e-3


def test_a_field_in_ras_is_the_same_motion(case: tuple[Path, DisplacementField]) -> None:
    folder, field = case
    ras = flip_lps_ras(field.vectors).transpose(2, 1, 0, 3)[:, :, :, None]
    volume = nibabel.Nifti1Image(ras, field.grid.affine_ras())
    volume.header.set_intent(NIFTI_DISPLACEMENT_INTENT)
    nibabel.save(volume, folder / "ras.nii.gz")
    convert(folder / "ras.nii.gz", folder / "t.h5")
    convert(folder / "t.h5", folder / "back.nii.gz")
    assert apart(folder / "back.nii.gz", field) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["t.h5", "t.tfm", "Warp.nii.gz"])
def test_itk_maps_points_as_the_field_says(case: tuple[Path, DisplacementField], name: str) -> None:
    folder, field = case
    convert(folder / "field.nii.gz", folder / "disp_1_2.npz")
    convert(folder / "disp_1_2.npz", folder / name, "--grid", folder / "fixed.nii.gz")
    image = name.endswith(".nii.gz")
    read = (
        sitk.DisplacementFieldTransform(sitk.ReadImage(str(folder / name), sitk.sitkVectorFloat64))
        if image
        else sitk.ReadTransform(str(folder / name))
    )
    inner = field.grid.voxel_to_world(np.random.default_rng(1).uniform(1, np.asarray(field.grid.size) - 2, (30, 3)))
    expected = inner + field.at(inner)
    np.testing.assert_allclose([read.TransformPoint(point) for point in inner.tolist()], expected, atol=1e-3)
    if image:
        header = nibabel.load(folder / name).header
        assert header.get_data_shape() == (*field.grid.size, 1, 3)
        assert int(header["intent_code"]) == 1007


def test_nitransforms_maps_points_as_the_field_says(case: tuple[Path, DisplacementField]) -> None:
    nonlinear = pytest.importorskip("nitransforms.nonlinear")
    folder, field = case
    convert(folder / "field.nii.gz", folder / "disp_1_2.nii.gz")
    convert(folder / "disp_1_2.nii.gz", folder / "Warp.nii.gz", "--to-format", "ants")
    loaded = nonlinear.load(folder / "Warp.nii.gz", fmt="itk")
    at = places(field.grid)[2:4, 2:5, 2:6].reshape(-1, 3)
    expected = at + field.vectors[2:4, 2:5, 2:6].reshape(-1, 3)
    np.testing.assert_allclose(flip_lps_ras(loaded.map(flip_lps_ras(at))), expected, atol=1e-3)


def test_learn2reg_maps_voxels_by_its_own_formula(case: tuple[Path, DisplacementField]) -> None:
    """``moving[v + d(v)]`` is the warped image, and ``v + d(v)`` times the spacing the error of a landmark."""
    folder, field = case
    convert(folder / "field.nii.gz", folder / "disp_1_2.nii.gz")
    convert(folder / "field.nii.gz", folder / "disp_1_2.npz")
    disp = np.asanyarray(nibabel.load(folder / "disp_1_2.nii.gz").dataobj)
    np.testing.assert_array_equal(np.load(folder / "disp_1_2.npz")["arr_0"], np.moveaxis(disp, -1, 0))
    ramp = places(field.grid)[..., 0].T  # the moving image, (x, y, z): its value is where it is
    identity = np.stack(np.meshgrid(*map(np.arange, field.grid.size), indexing="ij"))
    warped = map_coordinates(ramp, identity + np.moveaxis(disp, -1, 0), order=1)
    inside = ((identity + np.moveaxis(disp, -1, 0)) >= 0).all(axis=0)
    inside &= (np.moveaxis(identity, 0, -1) + disp <= np.asarray(field.grid.size) - 1).all(axis=-1)
    expected = (places(field.grid) + field.vectors)[..., 0].T
    assert inside.mean() > 0.3
    np.testing.assert_allclose(warped[inside], expected[inside], atol=1e-3)


def test_half_resolution_is_that_of_the_first_edition(tmp_path: Path) -> None:
    grid = Grid((20, 16, 12), (1.5, 1.5, 2.0), (10.0, -20.0, 30.0), GRIDS["oblique"].direction)
    field = motion(grid)
    write_field(tmp_path / "field.nii.gz", field)
    write_image(tmp_path / "fixed.nii.gz", Image(np.zeros(grid.shape, np.int16), grid), dtype=np.int16)
    shown = json.loads(convert(tmp_path / "field.nii.gz", tmp_path / "disp_1_2.npz", "--half").stdout)
    half = np.load(tmp_path / "disp_1_2.npz")["arr_0"]
    assert (half.shape, half.dtype) == ((3, 10, 8, 6), np.float16)
    assert 1e-3 < shown["difference_max_mm"] < 0.5  # it rounds, and says so
    convert(tmp_path / "disp_1_2.npz", tmp_path / "disp_back.nii.gz", "--grid", tmp_path / "fixed.nii.gz")
    doubled = np.stack([zoom(part.astype(np.float32), 2, order=2) for part in half], axis=-1)
    back = np.asanyarray(nibabel.load(tmp_path / "disp_back.nii.gz").dataobj)
    np.testing.assert_allclose(back, doubled, atol=1e-5)
    volume = nibabel.Nifti1Image(np.moveaxis(half, 0, -1).astype(np.float32), np.eye(4))
    nibabel.save(volume, tmp_path / "disp_half.nii.gz")
    convert(tmp_path / "disp_half.nii.gz", tmp_path / "disp_same.nii.gz", "--grid", tmp_path / "fixed.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(nibabel.load(tmp_path / "disp_same.nii.gz").dataobj), back)


@pytest.mark.parametrize(("reading", "corners"), [("normalised", False), ("normalised-corners", True)])
def test_torch_samples_as_the_array_says(case: tuple[Path, DisplacementField], reading: str, corners: bool) -> None:
    """``grid_sample`` of the moving image at identity plus the array is the moving image where the field says."""
    folder, field = case
    made = ("--to-as", reading, "--to-axes", "zyx", "--to-layout", "last")
    convert(folder / "field.nii.gz", folder / "flow.pt", *made)
    flow = torch.load(folder / "flow.pt", weights_only=True)
    moving = torch.from_numpy(np.moveaxis(places(field.grid), -1, 0))[None]
    identity = torch.nn.functional.affine_grid(
        torch.eye(3, 4, dtype=torch.float64)[None], [1, 1, *field.grid.shape], align_corners=corners
    )
    at = identity + flow[None].double()
    warped = torch.nn.functional.grid_sample(moving, at, align_corners=corners)[0].numpy()
    bound = 1 if corners else 1 - 1 / np.asarray(field.grid.size)
    inside = (np.abs(at[0].numpy()) <= bound).all(axis=-1)
    assert inside.mean() > 0.3
    expected = places(field.grid) + field.vectors
    np.testing.assert_allclose(np.moveaxis(warped, 0, -1)[inside], expected[inside], atol=1e-3)


def test_voxelmorphs_nifti_with_the_components_first(case: tuple[Path, DisplacementField]) -> None:
    """Its torch script saves 3 x X x Y x Z in voxels, components along the axes, and the geometry of the fixed scan."""
    folder, field = case
    convert(folder / "field.nii.gz", folder / "disp_1_2.npz")
    flow = np.load(folder / "disp_1_2.npz")["arr_0"]
    nibabel.save(nibabel.Nifti1Image(flow, field.grid.affine_ras()), folder / "warp.nii.gz")
    result = convert(folder / "warp.nii.gz", folder / "no.nii.gz", code=2)
    assert "[ambiguous_format]" in result.stderr
    with pytest.raises(BadInputError) as caught:
        read_chain([folder / "warp.nii.gz"])
    assert "lcsd transform convert" in caught.value.message
    nibabel.save(nibabel.Nifti1Image(np.moveaxis(flow, 0, -1), np.eye(4)), folder / "displacement.nii.gz")
    assert "[ambiguous_format]" in refused(folder, "displacement.nii.gz", "no.nii.gz")
    convert(folder / "warp.nii.gz", folder / "back.nii.gz", "--from-format", "array", "--field-as", "voxel")
    assert apart(folder / "back.nii.gz", field) < 1e-3


def test_landmarks_become_the_spline_through_them(case: tuple[Path, DisplacementField]) -> None:
    folder, field = case
    fixed = field.grid.voxel_to_world(np.random.default_rng(3).uniform(0, np.asarray(field.grid.size) - 1, (20, 3)))
    pairs = PointPairs(fixed, fixed + field.at(fixed))
    write_point_pairs(folder / "landmarks.csv", pairs)
    convert(folder / "landmarks.csv", folder / "spline.nii.gz", "--grid", folder / "fixed.nii.gz")
    # Its kernel is r^2 log r with an affine part; file and memory differ by the digits of the table.
    spline = RBFInterpolator(fixed, pairs.moving - fixed, kernel="thin_plate_spline", degree=1)
    expected = spline(places(field.grid).reshape(-1, 3)).reshape(*field.grid.shape, 3)
    assert apart(folder / "spline.nii.gz", DisplacementField(expected.astype(np.float32), field.grid)) < 2e-3
    convert(folder / "landmarks.csv", folder / "slicer.h5", "--grid", folder / "fixed.nii.gz", "--to-format", "slicer")
    assert sitk.ReadTransform(str(folder / "slicer.h5")).GetName() == "DisplacementFieldTransform"


def test_a_field_comes_to_the_voxels_of_the_fixed_image(tmp_path: Path) -> None:
    """A field of its own coarse voxels as a Learn2Reg field, which has the voxels of the scan."""
    fine = Grid((20, 16, 12), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    coarse = Grid.covering(fine, 2.0)
    u = places(coarse) @ np.diag([0.01, -0.02, 0.03])
    write_field(tmp_path / "field.nii.gz", DisplacementField(u.astype(np.float32), coarse))
    write_image(tmp_path / "fixed.nii.gz", Image(np.zeros(fine.shape, np.int16), fine), dtype=np.int16)
    convert(tmp_path / "field.nii.gz", tmp_path / "disp_1_2.nii.gz", "--grid", tmp_path / "fixed.nii.gz")
    disp = np.asanyarray(nibabel.load(tmp_path / "disp_1_2.nii.gz").dataobj)
    expected = (places(fine) @ np.diag([0.01, -0.02, 0.03])).transpose(2, 1, 0, 3)
    np.testing.assert_allclose(disp[1:-1, 1:-1, 1:-1], expected[1:-1, 1:-1, 1:-1], atol=1e-4)


def test_other_transforms_stay_as_they_are_or_are_sampled(case: tuple[Path, DisplacementField]) -> None:
    folder, field = case
    affine = sitk.AffineTransform(3)
    affine.SetMatrix([1.02, 0.01, 0, 0, 0.98, 0.02, 0, 0, 1.01])
    sitk.WriteTransform(affine, str(folder / "affine.tfm"))
    assert "kept" in json.loads(convert(folder / "affine.tfm", folder / "affine.h5").stdout)
    assert sitk.ReadTransform(str(folder / "affine.h5")).GetParameters() == affine.GetParameters()
    assert "[missing_reference]" in convert(folder / "affine.tfm", folder / "no.nii.gz", code=2).stderr
    convert(folder / "affine.tfm", folder / "field2.nii.gz", "--grid", folder / "fixed.nii.gz")
    at = places(field.grid)[3, 4]
    expected = [affine.TransformPoint(point) for point in at.tolist()]
    np.testing.assert_allclose(at + read_field(folder / "field2.nii.gz").vectors[3, 4], expected, atol=1e-3)


def composite(folder: Path, field: DisplacementField, *, right: bool) -> Path:
    """Write a field and a far shift as one transform, in the right or the wrong order."""
    shift = sitk.TranslationTransform(3, (400.0, 0.0, 0.0))
    image = sitk.ReadImage(str(folder / "field.nii.gz"), sitk.sitkVectorFloat64)
    warp = sitk.DisplacementFieldTransform(image)
    # ITK applies the last one first.
    sitk.WriteTransform(sitk.CompositeTransform([shift, warp] if right else [warp, shift]), str(folder / "both.h5"))
    return folder / "both.h5"


def test_a_chain_in_the_wrong_order_is_refused_and_a_far_end_said(case: tuple[Path, DisplacementField]) -> None:
    folder, field = case
    grid = ("--grid", folder / "fixed.nii.gz")
    wrong = convert(composite(folder, field, right=False), folder / "out.nii.gz", *grid, code=2)
    assert "[outside_transform]" in wrong.stderr
    assert not (folder / "out.nii.gz").exists()
    right = convert(composite(folder, field, right=True), folder / "out.nii.gz", *grid)
    assert "100.0 % of the end points lie outside the moving scan" in right.stderr


ARRAY = ("--field-as", "voxel", "--grid", "fixed.nii.gz")


def refused(folder: Path, *arguments: object) -> str:
    texts = [folder / text if isinstance(text, str) and text.endswith((".gz", ".h5")) else text for text in arguments]
    result = convert(folder / str(arguments[0]), folder / str(arguments[1]), *texts[2:], code=2)
    assert not (folder / str(arguments[1])).exists()
    assert len(result.stderr.strip().splitlines()) == 1
    return result.stderr


@pytest.mark.parametrize(
    ("array", "options", "reason"),
    [
        (np.zeros((3, 11, 8, 6)), (), "ambiguous_vectors"),
        (np.zeros((3, 11, 8, 6)), ("--field-as", "voxel"), "no_geometry"),
        (np.zeros((3, 11, 8, 7)), ARRAY, "grid_mismatch"),
        (np.zeros((3, 11, 8, 6)), (*ARRAY, "--axes", "zyx"), "grid_mismatch"),
        (np.zeros((11, 8, 6)), ARRAY, "bad_field"),
        (np.zeros((2, 11, 8, 6)), ARRAY, "bad_field"),
        (np.zeros((3, 11, 8, 6)), (*ARRAY, "--layout", "last"), "bad_field"),
        (np.zeros((3, 11, 8, 6), complex), ARRAY, "bad_field"),
        (np.full((3, 11, 8, 6), np.nan), ARRAY, "non_finite"),
        (np.array([{}]), ARRAY, "needs_pickle"),
        (np.zeros((3, 11, 8, 3)), ARRAY, "ambiguous_layout"),
        (np.zeros((3, 11, 8, 6)), (*ARRAY, "--key", "flow"), "several_arrays"),
        (np.full((3, 11, 8, 6), 40.0), ("--field-as", "normalised", "--grid", "fixed.nii.gz"), "wrong_field"),
    ],
)
def test_arrays_that_cannot_be_read_are_refused(
    array: np.ndarray, options: Sequence[Any], reason: str, tmp_path: Path
) -> None:
    grid = GRIDS["lps"]
    write_image(tmp_path / "fixed.nii.gz", Image(np.zeros(grid.shape, np.int16), grid), dtype=np.int16)
    np.save(tmp_path / "flow.npy", array, allow_pickle=True)
    assert f"[{reason}]" in refused(tmp_path, "flow.npy", "out.nii.gz", *options)


def test_a_cube_may_have_its_axes_in_two_orders(tmp_path: Path) -> None:
    grid = Grid((6, 5, 6), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    write_image(tmp_path / "fixed.nii.gz", Image(np.zeros(grid.shape, np.int16), grid), dtype=np.int16)
    np.save(tmp_path / "flow.npy", np.ones((1, 3, 6, 5, 6), np.float32))
    assert "[ambiguous_axes]" in refused(tmp_path, "flow.npy", "out.nii.gz", *ARRAY)
    named = ("--axes", "xyz", "--field-as", "voxel", "--grid", tmp_path / "fixed.nii.gz")
    convert(tmp_path / "flow.npy", tmp_path / "out.nii.gz", *named)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"flow": torch.zeros(3, 11, 8, 6), "loss": torch.zeros(1)}, "several_arrays"),
        (torch.nn.Linear(1, 1), "needs_pickle"),
        (b"nothing", "truncated_file"),
    ],
)
def test_tensors_that_cannot_be_read_are_refused(content: Any, reason: str, tmp_path: Path) -> None:
    grid = GRIDS["lps"]
    write_image(tmp_path / "fixed.nii.gz", Image(np.zeros(grid.shape, np.int16), grid), dtype=np.int16)
    if isinstance(content, bytes):
        (tmp_path / "flow.pt").write_bytes(content)
    else:
        torch.save(content, tmp_path / "flow.pt")
    message = refused(tmp_path, "flow.pt", "out.nii.gz", *ARRAY)
    assert f"[{reason}]" in message
    if reason == "several_arrays":
        out = ("--key", "flow", "--field-as", "voxel", "--grid", tmp_path / "fixed.nii.gz")
        shown = convert(tmp_path / "flow.pt", tmp_path / "out.nii.gz", *out)
        assert "less than half a voxel" in shown.stderr  # a field of zeros


def test_files_and_options_that_do_not_fit_are_refused(case: tuple[Path, DisplacementField]) -> None:
    folder, _ = case
    write_point_pairs(folder / "landmarks.csv", PointPairs(np.eye(3), np.eye(3)))
    convert(folder / "field.nii.gz", folder / "disp_1_2.npz")
    for reason, *arguments in (
        ("unknown_format", "field.nii.gz", "out.csv"),
        ("unknown_format", "field.nii.gz", "out.csv", "--to-format", "landmarks"),
        ("unknown_format", "field.nii.gz", "out.h5", "--to-format", "ants"),
        ("unknown_format", "field.vtk", "out.h5"),
        ("missing_file", "field.mha", "out.h5", "--from-format", "itk"),
        ("ambiguous_vectors", "field.nii.gz", "out.npy"),
        ("bad_option", "field.nii.gz", "out.h5", "--to-as", "voxel"),
        ("bad_option", "field.nii.gz", "out.h5", "--half"),
        ("bad_option", "field.nii.gz", "out.h5", "--axes", "xyz"),
        ("bad_usage", "field.nii.gz", "disp_out.nii.gz", "--half"),
        ("bad_usage", "field.nii.gz", "disp_out.npz", "--half"),  # 11 voxels
        ("no_geometry", "disp_1_2.npz", "out.h5"),
        ("no_geometry", "landmarks.csv", "out.h5"),
        ("too_few_points", "landmarks.csv", "out.h5", "--grid", "fixed.nii.gz"),
        ("missing_file", "nothing.nii.gz", "out.h5"),
        ("missing_file", "nothing.npy", "out.h5", *ARRAY),
    ):
        assert f"[{reason}]" in refused(folder, *arguments), arguments


def test_the_moving_image_may_have_other_voxels(case: tuple[Path, DisplacementField]) -> None:
    """Learn2Reg's numbers are then voxels of the moving image."""
    folder, field = case
    moving = Grid((9, 9, 9), (2.0, 1.0, 3.0), tuple(field.grid.centre - 5), GRIDS["permuted"].direction)
    write_image(folder / "moving.nii.gz", Image(np.zeros(moving.shape, np.int16), moving), dtype=np.int16)
    grids = ("--grid", folder / "fixed.nii.gz", "--moving-grid", folder / "moving.nii.gz")
    convert(folder / "field.nii.gz", folder / "disp_1_2.npz", *grids)
    disp = np.load(folder / "disp_1_2.npz")["arr_0"]
    voxel = np.array([4, 3, 2])
    start = field.grid.voxel_to_world(voxel.astype(float))
    expected = moving.world_to_voxel(start + field.vectors[2, 3, 4]) - voxel
    np.testing.assert_allclose(disp[:, 4, 3, 2], expected, atol=1e-4)
    convert(folder / "disp_1_2.npz", folder / "back.nii.gz", *grids)
    assert apart(folder / "back.nii.gz", field) < 1e-3
    convert(folder / "field.nii.gz", folder / "flow.npy", "--to-as", "voxel")
    for names in (("flow.npy", "out.h5", "--field-as", "voxel"), ("field.nii.gz", "out.npy", "--to-as", "voxel")):
        assert "[bad_option]" in refused(folder, *names, *grids)


def test_a_named_reading_is_taken_even_if_it_is_far(case: tuple[Path, DisplacementField]) -> None:
    """A field between two native spaces: vectors of the size of positions, refused unless they are named."""
    folder, field = case
    far = DisplacementField(places(field.grid).astype(np.float32), field.grid)
    write_field(folder / "far.nii.gz", far)
    assert "--field-as positions [wrong_field]" in refused(folder, "far.nii.gz", "out.h5")
    with pytest.raises(BadInputError) as caught:
        read_chain([folder / "far.nii.gz"])
    assert "lcsd transform convert" in caught.value.message
    convert(folder / "far.nii.gz", folder / "out.h5", "--field-as", "displacement")
    convert(folder / "out.h5", folder / "back.nii.gz")
    assert apart(folder / "back.nii.gz", far) < 1e-3


def test_the_page_has_every_format_and_suffix() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "transforms.md").read_text(encoding="utf-8")
    for word in (*FORMATS, *ITK_SUFFIXES, *ARRAY_SUFFIXES):
        assert f"`{word}" in page, word


def test_too_many_landmarks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lcsd.transforms.read.MOST_TPS_POINTS", 4)
    grid = GRIDS["lps"]
    write_image(tmp_path / "fixed.nii.gz", Image(np.zeros(grid.shape, np.int16), grid), dtype=np.int16)
    points = np.random.default_rng(0).normal(size=(5, 3))
    write_point_pairs(tmp_path / "l.csv", PointPairs(points, points))
    assert "[too_many_points]" in refused(tmp_path, "l.csv", "out.h5", "--grid", "fixed.nii.gz")
