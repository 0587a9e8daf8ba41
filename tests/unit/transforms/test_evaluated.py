"""``lcsd evaluate`` reads every convention: one motion has one error, and a wrong reading is refused."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from click.testing import CliRunner, Result

from lcsd.cli.main import main
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField, write_field
from lcsd.io.images import Image, write_image
from lcsd.io.points import PointPairs, write_point_pairs
from tests.grids import GRIDS

GRID = Grid((22, 18, 16), (3.0, 4.0, 5.0), (-40.0, 30.0, -90.0), GRIDS["oblique"].direction)
MATRIX = np.array([[0.05, 0.2, 0.0], [-0.13, 0.0, 0.14], [0.0, 0.26, -0.05]])
SHIFT = np.array([5.0, -8.0, 11.0])
FAR = np.array([300.0, 0.0, 0.0])


def moved(points: np.ndarray) -> np.ndarray:
    """Return points after a linear motion, which every interpolation keeps."""
    return points + (points - GRID.centre) @ MATRIX.T + SHIFT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A field, the same in every convention, the fixed image, and landmarks that are 0.5 mm off."""
    made = tmp_path_factory.mktemp("conventions")
    points = np.stack([plane for _, plane in GRID.planes()])
    write_field(made / "field.nii.gz", DisplacementField((moved(points) - points).astype(np.float32), GRID))
    write_image(made / "fixed.nii.gz", Image(np.zeros(GRID.shape, np.int16), GRID), dtype=np.int16)
    for name, *options in (
        ("field.h5",),
        ("disp_1_2.nii.gz",),
        ("disp_1_2.npz",),
        ("voxelmorph.npz", "--to-as", "voxel"),
        ("torch.pt", "--to-as", "normalised-corners", "--to-axes", "zyx", "--to-layout", "last"),
        ("positions.npy", "--to-as", "positions-normalised"),
        ("mm.npy", "--to-as", "displacement"),
    ):
        convert = ["transform", "convert", str(made / "field.nii.gz"), str(made / name), *options]
        assert CliRunner().invoke(main, convert).exit_code == 0
    rng = np.random.default_rng(0)
    fixed = GRID.voxel_to_world(np.stack([rng.integers(5, n - 5, 30) for n in GRID.size], axis=1).astype(float))
    off = rng.normal(size=fixed.shape)
    moving = moved(fixed) + 0.5 * off / np.linalg.norm(off, axis=1, keepdims=True)
    write_point_pairs(made / "landmarks.csv", PointPairs(fixed, moving))
    sitk.WriteTransform(sitk.TranslationTransform(3, FAR.tolist()), str(made / "shift.tfm"))
    write_point_pairs(made / "shifted.csv", PointPairs(fixed, moving + FAR))
    return made


def evaluate(folder: Path, *options: str, landmarks: str = "landmarks.csv") -> Result:
    files = [str(folder / text) if "." in text else text for text in options]
    return CliRunner().invoke(main, ["evaluate", "--landmarks", str(folder / landmarks), *files, "--json"])


FIXED = ("--grid", "fixed.nii.gz")


@pytest.mark.parametrize(
    "options",
    [
        ("--field", "field.nii.gz"),
        ("--transform", "field.h5"),
        ("--transform", "field.nii.gz"),
        ("--disp", "disp_1_2.nii.gz"),
        ("--disp", "disp_1_2.npz", *FIXED),
        ("--field", "voxelmorph.npz", "--field-as", "voxel", *FIXED),
        ("--field", "torch.pt", "--field-as", "normalised-corners", "--layout", "last", *FIXED),
        ("--field", "positions.npy", "--field-as", "positions-normalised", "--axes", "xyz", *FIXED),
    ],
)
def test_one_motion_has_one_error(folder: Path, options: Sequence[str]) -> None:
    result = evaluate(folder, *options)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["tre_mean_mm"] == pytest.approx(0.5, abs=1e-3)
    assert figures["tre_before_mean_mm"] > 10


def test_transforms_apply_in_their_order(folder: Path) -> None:
    chain = ("--transform", "field.nii.gz", "--transform", "shift.tfm")
    result = evaluate(folder, *chain, landmarks="shifted.csv")
    assert json.loads(result.stdout)["tre_mean_mm"] == pytest.approx(0.5, abs=1e-3)
    wrong = evaluate(folder, "--transform", "shift.tfm", "--transform", "field.nii.gz", landmarks="shifted.csv")
    assert (wrong.exit_code, "[landmark_outside]" in wrong.stderr) == (2, True)


@pytest.mark.parametrize(
    ("name", "named", "right"),
    [
        ("voxelmorph.npz", "voxel-zyx", "voxel"),
        ("voxelmorph.npz", "normalised", "displacement"),  # 133 mm: refused for its size, which knows no unit
        ("voxelmorph.npz", "ras", "voxel"),
        ("torch.pt", "displacement", "normalised-corners"),
        ("torch.pt", "normalised-corners-zyx", "normalised-corners"),
        ("positions.npy", "normalised", "positions-normalised"),
        ("mm.npy", "ras", "displacement"),
    ],
)
def test_a_wrong_reading_is_refused_with_the_right_one(folder: Path, name: str, named: str, right: str) -> None:
    result = evaluate(folder, "--field", name, "--field-as", named, *FIXED)
    assert result.exit_code == 2
    assert f"--field-as {right} [wrong_field]" in result.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--field", "voxelmorph.npz", *FIXED), "ambiguous_vectors"),
        (("--field", "voxelmorph.npz", "--field-as", "voxel"), "no_geometry"),
        (("--disp", "disp_1_2.npz"), "no_geometry"),
        (("--transform", "voxelmorph.npz"), "bad_transform"),
        (("--transform", "field.h5", "--axes", "zyx"), "bad_option"),
        (("--field", "field.nii.gz", "--axes", "zyx"), "bad_option"),
        (("--field", "field.nii.gz", *FIXED), "bad_option"),
    ],
)
def test_what_is_missing_or_means_nothing_is_refused(folder: Path, options: Sequence[str], reason: str) -> None:
    result = evaluate(folder, *options)
    assert result.exit_code == 2
    assert f"[{reason}]" in result.stderr
