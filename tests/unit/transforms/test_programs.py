"""Outputs of five programs: ``lcsd evaluate`` finds the errors that each program's own mapping of points gives."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from click.testing import CliRunner
from scipy.ndimage import gaussian_filter, map_coordinates

from lcsd.cli.main import main
from lcsd.geometry import Grid
from lcsd.io.fields import read_field
from lcsd.io.images import Image, write_image
from lcsd.io.points import PointPairs, write_point_pairs
from tests.grids import GRIDS

pytestmark = pytest.mark.slow

GRID = Grid((40, 36, 32), (2.0, 2.5, 3.0), (-60.0, -40.0, 100.0), GRIDS["oblique"].direction)
SAME_MM = 0.01


def motion(voxels: np.ndarray) -> np.ndarray:
    """Return the true motion at voxel indices (..., 3), in voxels."""
    x, y, z = np.moveaxis(voxels, -1, 0)
    return np.stack([1.5 * np.sin(y / 9), 1.2 * np.cos(x / 8 + z / 20), 1.4 * np.sin(x / 9 + 1)], axis=-1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PointPairs]:
    """Two images of a random texture that moved, and landmarks between voxels."""
    folder, rng = tmp_path_factory.mktemp("programs"), np.random.default_rng(0)
    moving = gaussian_filter(rng.normal(size=GRID.shape), 2.0)
    moving = 1000 + 300 * moving / moving.std()  # ANTs needs a centre of mass
    voxels = np.stack(np.meshgrid(*map(np.arange, GRID.size), indexing="ij"), axis=-1).astype(float)
    at = np.moveaxis((voxels + motion(voxels)).transpose(2, 1, 0, 3)[..., ::-1], -1, 0)
    fixed = map_coordinates(moving, at, order=3, mode="nearest")
    for name, array in (("fixed", fixed), ("moving", moving)):
        write_image(folder / f"{name}.nii.gz", Image(array.astype(np.float32), GRID), dtype=np.float32)
    points = rng.uniform(6, np.asarray(GRID.size) - 7, (25, 3))
    pairs = PointPairs(GRID.voxel_to_world(points), GRID.voxel_to_world(points + motion(points)))
    write_point_pairs(folder / "landmarks.csv", pairs)
    return folder, pairs


def check(pair: tuple[Path, PointPairs], mapped: np.ndarray, *options: object) -> None:
    """Compare errors by ``lcsd evaluate`` with those of points that a program mapped; it registers in fact."""
    folder, pairs = pair
    texts = ["--landmarks", folder / "landmarks.csv", *options, "--table", folder / "table.csv", "--json"]
    result = CliRunner().invoke(main, ["evaluate", *map(str, texts)])
    assert result.exit_code == 0, result.output
    expected = np.linalg.norm(mapped - pairs.moving, axis=1)
    figures = json.loads(result.stdout)
    assert abs(figures["tre_mean_mm"] - expected.mean()) < SAME_MM
    found = np.genfromtxt(folder / "table.csv", delimiter=",", names=True)["tre_mm"]
    np.testing.assert_allclose(found, expected, atol=SAME_MM)
    assert expected.mean() < 0.7 * figures["tre_before_mean_mm"]


def test_simpleitk(pair: tuple[Path, PointPairs]) -> None:
    folder, pairs = pair
    fixed, moving = (sitk.ReadImage(str(folder / f"{name}.nii.gz")) for name in ("fixed", "moving"))
    demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfIterations(40)
    demons.SetStandardDeviations(1.5)
    found = sitk.DisplacementFieldTransform(sitk.Cast(demons.Execute(fixed, moving), sitk.sitkVectorFloat64))
    sitk.WriteTransform(found, str(folder / "demons.h5"))
    sitk.WriteImage(sitk.Cast(found.GetDisplacementField(), sitk.sitkVectorFloat32), str(folder / "demons.nii.gz"))
    mapped = np.array([found.TransformPoint(point) for point in pairs.fixed.tolist()])
    check(pair, mapped, "--transform", folder / "demons.h5")
    check(pair, mapped, "--field", folder / "demons.nii.gz")


def test_ants(pair: tuple[Path, PointPairs]) -> None:
    ants = pytest.importorskip("ants")
    pandas = pytest.importorskip("pandas")
    folder, pairs = pair
    images = [ants.image_read(str(folder / f"{name}.nii.gz")) for name in ("fixed", "moving")]
    how = {"type_of_transform": "SyN", "reg_iterations": (20, 10, 0)}
    made = ants.registration(*images, **how, outprefix=str(folder / "ants_"))
    warp, affine = made["fwdtransforms"]
    assert (Path(warp).name, Path(affine).name) == ("ants_1Warp.nii.gz", "ants_0GenericAffine.mat")
    table = pandas.DataFrame(pairs.fixed, columns=[*"xyz"])
    mapped = ants.apply_transforms_to_points(3, table, made["fwdtransforms"])[[*"xyz"]].to_numpy()
    check(pair, mapped, "--transform", warp, "--transform", affine)
    # The same as one file, in 32-bit numbers.
    made = ants.registration(*images, **how, outprefix=str(folder / "one_"), write_composite_transform=True)
    mapped = ants.apply_transforms_to_points(3, table, [made["fwdtransforms"]])[[*"xyz"]].to_numpy()
    check(pair, mapped, "--transform", folder / "one_Composite.h5")


def test_elastix(pair: tuple[Path, PointPairs]) -> None:
    itk = pytest.importorskip("itk")
    folder, pairs = pair
    images = [itk.imread(str(folder / f"{name}.nii.gz"), itk.F) for name in ("fixed", "moving")]
    parameters = itk.ParameterObject.New()
    spline = parameters.GetDefaultParameterMap("bspline", 1, 12.0)
    spline["MaximumNumberOfIterations"] = ["25"]
    spline["ITKTransformOutputFileNameExtension"] = ["tfm"]
    parameters.AddParameterMap(spline)
    out = folder / "elastix"
    out.mkdir()
    _, found = itk.elastix_registration_method(*images, parameter_object=parameters, output_directory=str(out))
    rows = [" ".join(f"{value:.9f}" for value in point) for point in pairs.fixed]
    (folder / "points.txt").write_text("\n".join(["point", str(len(rows)), *rows, ""]))
    itk.transformix_filter(
        images[1], found, fixed_point_set_file_name=str(folder / "points.txt"), output_directory=str(out)
    )
    lines = (out / "outputpoints.txt").read_text().splitlines()
    mapped = np.array([line.split("OutputPoint = [")[1].split("]")[0].split() for line in lines], dtype=float)
    check(pair, mapped, "--transform", out / "TransformParameters.0.tfm")


def test_convexadam(pair: tuple[Path, PointPairs]) -> None:
    """Its own use of the field: the moving image at ``voxel + disp``; between voxels as the challenge samples it."""
    convex = pytest.importorskip("convexAdam.convex_adam_MIND")
    folder, pairs = pair
    convex.convex_adam(
        folder / "fixed.nii.gz", folder / "moving.nii.gz", grid_sp=4, disp_hw=2, selected_niter=20, result_path=folder
    )
    disp = nibabel.load(folder / "disp.nii.gz").get_fdata()
    voxels = GRID.world_to_voxel(pairs.fixed)
    shift = np.stack([map_coordinates(disp[..., axis], voxels.T) for axis in range(3)], axis=-1)
    mapped = GRID.voxel_to_world(voxels + shift)
    check(pair, mapped, "--disp", folder / "disp.nii.gz")
    np.savez(folder / "disp_1_2.npz", np.moveaxis(disp, -1, 0).astype(np.float32))
    check(pair, mapped, "--disp", folder / "disp_1_2.npz", "--grid", folder / "fixed.nii.gz")


def test_lcsd(pair: tuple[Path, PointPairs]) -> None:
    folder, pairs = pair
    points = GRID.voxel_to_world(np.random.default_rng(1).uniform(0, np.asarray(GRID.size) - 1, (300, 3)))
    voxels = GRID.world_to_voxel(points)
    write_point_pairs(folder / "known.csv", PointPairs(points, GRID.voxel_to_world(voxels + motion(voxels))))
    fields = ["transform", "convert", folder / "known.csv", folder / "ours.nii.gz", "--grid", folder / "fixed.nii.gz"]
    assert CliRunner().invoke(main, [*map(str, fields)]).exit_code == 0
    warp = ["warp", folder / "landmarks.csv", folder / "warped.csv", "--transform", folder / "ours.nii.gz"]
    assert CliRunner().invoke(main, [*map(str, warp)]).exit_code == 0
    mapped = pairs.fixed + read_field(folder / "ours.nii.gz").at(pairs.fixed)
    check(pair, mapped, "--field", folder / "ours.nii.gz")
