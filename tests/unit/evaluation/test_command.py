"""``lcsd evaluate`` on files: outputs, exit codes, one-line errors, nothing half-written."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from click.testing import CliRunner, Result

from lcsd.cli.evaluate import command
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.fields import DisplacementField, write_field
from lcsd.io.files import read_json
from lcsd.io.images import Image, write_image, write_mask, write_rigid
from lcsd.io.points import PointPairs, read_point_pairs, write_point_pairs

GRID = Grid((20, 18, 16), (2.0, 2.0, 2.0), (-20.0, -30.0, -40.0))
RIGID = RigidTransform(np.eye(3), np.array([0.0, 10.0, 0.0]))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(part) for part in arguments])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    fixed = GRID.voxel_to_world(rng.uniform(1, 14, size=(30, 3)))
    moving = fixed + np.array([0.0, 0.0, 4.0])
    write_point_pairs(tmp_path / "landmarks.csv", PointPairs(fixed[:10], RIGID.apply(moving[:10])))
    write_point_pairs(tmp_path / "points.csv", PointPairs(fixed[10:], moving[10:]))
    vectors = np.full((*GRID.shape, 3), (0.0, 0.0, 3.0), dtype=np.float32)
    write_field(tmp_path / "field.nii.gz", DisplacementField(vectors, GRID))
    write_mask(tmp_path / "mask.nii.gz", Image(np.ones(GRID.shape, dtype=bool), GRID))
    write_rigid(tmp_path / "rigid.tfm", RIGID)
    shift = sitk.TranslationTransform(3, (0.0, 0.0, 3.0))
    sitk.WriteTransform(shift, str(tmp_path / "shift.h5"))
    disp = np.full((*GRID.size, 3), (0.0, 0.0, 1.5), dtype=np.float32)
    nibabel.save(nibabel.Nifti1Image(disp, np.eye(4)), tmp_path / "disp.nii.gz")
    return tmp_path


def test_field_is_scored(files: Path) -> None:
    out, table = files / "divroc.json", files / "divroc_landmarks.csv"
    arguments = (
        "--landmarks",
        files / "landmarks.csv",
        "--field",
        files / "field.nii.gz",
        "--rigid",
        files / "rigid.tfm",
        "--mask",
        files / "mask.nii.gz",
        "--out",
        out,
        "--table",
        table,
    )
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    figures = read_json(out)
    assert figures["method"] == "divroc"
    assert figures["tre_mean_mm"] == pytest.approx(1.0, abs=1e-3)
    assert figures["tre_before_mean_mm"] == pytest.approx(4.0, abs=1e-3)
    assert figures["tre_native_mean_mm"] == pytest.approx(np.hypot(10, 4), abs=1e-3)
    assert figures["folding_percent"] == 0.0
    assert len(table.read_text().splitlines()) == 11
    assert read_json(files / "divroc.provenance.json")["stage"] == "evaluate"
    first = (out.read_bytes(), table.read_bytes())
    run(*arguments)
    assert (out.read_bytes(), table.read_bytes()) == first


@pytest.mark.parametrize(
    ("options", "source"),
    [(("--transform", "shift.h5"), "transform"), (("--disp", "disp.nii.gz", "--grid", "mask.nii.gz"), "disp")],
)
def test_results_of_other_programs_are_scored_alike(files: Path, options: tuple[str, ...], source: str) -> None:
    given = [str(files / part) if "." in part else part for part in options]
    result = run(
        "--landmarks",
        files / "landmarks.csv",
        *given,
        "--rigid",
        files / "rigid.tfm",
        "--mask",
        files / "mask.nii.gz",
        "--method",
        "elastix",
        "--json",
    )
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert (figures["source"], figures["method"]) == (source, "elastix")
    assert figures["tre_mean_mm"] == pytest.approx(1.0, abs=1e-3)
    assert figures["folding_percent"] == 0.0
    assert figures["jacobian_region"] == "mask"


def test_transform_that_ends_inside_the_mask_is_said(files: Path) -> None:
    vectors = sitk.Image([GRID.size[0] - 4, *GRID.size[1:]], sitk.sitkVectorFloat64, 3)
    vectors.SetOrigin(GRID.origin)
    vectors.SetSpacing(GRID.spacing)
    sitk.WriteTransform(sitk.DisplacementFieldTransform(vectors), str(files / "short.h5"))
    arguments = ("--landmarks", files / "inner.csv", "--transform", files / "short.h5", "--json")
    at = np.array([GRID.origin]) + 5.0
    write_point_pairs(files / "inner.csv", PointPairs(at, at))
    result = run(*arguments, "--mask", files / "mask.nii.gz")
    share = 100 * (GRID.size[0] - 5) / GRID.size[0]
    assert json.loads(result.stdout)["jacobian_covered_percent"] == pytest.approx(share)
    assert f"{share:.1f} % of the mask" in result.stderr
    assert "warning" not in run(*arguments).stderr


@pytest.mark.parametrize(("name", "method"), [("vm.v2.json", "vm.v2"), ("ants.json", "ants"), ("a.b", "a.b")])
def test_method_is_called_as_comparisons_call_it(files: Path, name: str, method: str) -> None:
    run("--landmarks", files / "landmarks.csv", "--transform", files / "shift.h5", "--out", files / name)
    assert read_json(files / name)["method"] == method


def test_snapping_needs_the_scan_of_the_landmarks(files: Path) -> None:
    native = Image(np.zeros((9, 18, 20)), Grid((20, 18, 9), (2.0, 2.0, 5.0), (-20.0, -20.0, -40.0)))
    write_image(files / "followup.nii.gz", native, dtype=np.int16)
    result = run(
        "--landmarks",
        files / "landmarks.csv",
        "--field",
        files / "field.nii.gz",
        "--rigid",
        files / "rigid.tfm",
        "--snap",
        files / "followup.nii.gz",
        "--table",
        files / "t.csv",
        "--json",
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["snapped"] is True
    rows = np.genfromtxt(files / "t.csv", delimiter=",", names=True)
    slices = (rows["moved_z"] + 40.0) / 5.0
    np.testing.assert_allclose(slices, np.rint(slices), atol=1e-3)


def test_seeded_landmarks_are_warned_of(files: Path) -> None:
    pairs = read_point_pairs(files / "landmarks.csv")
    origin = ("corrected:divroc",) * 4 + ("manual",) * 6
    write_point_pairs(files / "l.csv", replace(pairs, origin=origin))
    arguments = (
        "--landmarks",
        files / "l.csv",
        "--field",
        files / "field.nii.gz",
        "--rigid",
        files / "rigid.tfm",
        "--json",
        "--method",
    )
    result = run(*arguments, "divroc")
    assert "4 of 10 landmarks" in result.stderr
    assert json.loads(result.stdout)["seeded_landmarks"] == 4
    other = run(*arguments, "corrfield")
    assert other.stderr == ""
    assert json.loads(other.stdout)["seeded_landmarks"] == 0


def test_result_is_printed_without_a_file(files: Path) -> None:
    before = sorted(files.iterdir())
    result = run(
        "--landmarks",
        files / "landmarks.csv",
        "--correspondences",
        files / "points.csv",
        "--rigid",
        files / "rigid.tfm",
        "--json",
    )
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert (figures["extrapolation"], figures["source"]) == ("tps", "correspondences")
    assert figures["tre_mean_mm"] < 1e-2
    assert sorted(files.iterdir()) == before


def test_circular_landmarks_are_warned_of(files: Path) -> None:
    result = run("--landmarks", files / "points.csv", "--correspondences", files / "points.csv", "--json")
    assert result.exit_code == 0
    assert "20 of 20 landmarks" in result.stderr
    assert json.loads(result.stdout)["circular"] is True


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "exactly one"),
        (("--field", "field.nii.gz", "--correspondences", "points.csv"), "exactly one"),
        (("--field", "missing.nii.gz"), "file not found"),
        (("--field", "mask.nii.gz"), "not a displacement field"),
        (("--field", "field.nii.gz", "--landmarks-frame", "native"), "rigid"),
        (("--correspondences", "points.csv", "--set", "extrapolate=magic"), "extrapolate"),
        (("--correspondences", "points.csv", "--set", "unknown=1"), "unknown"),
        (("--field", "field.nii.gz", "--transform", "shift.h5"), "--field and --transform"),
        (("--field", "field.nii.gz", "--grid", "mask.nii.gz"), "--grid"),
        (("--disp", "disp.nii.gz"), "[landmark_outside]"),
        (("--disp", "field.nii.gz"), "[bad_field]"),
        (("--field", "disp.nii.gz"), "[bad_field]"),
        (("--transform", "points.csv"), "[bad_transform]"),
        (("--field", "nan.nii.gz"), "[non_finite]"),
        (("--field", "elsewhere.nii.gz"), "[landmark_outside]"),
    ],
)
def test_bad_calls_are_one_line_and_exit_2(files: Path, options: tuple[str, ...], words: str) -> None:
    vectors = np.full((*GRID.shape, 3), np.nan, dtype=np.float32)
    write_field(files / "nan.nii.gz", DisplacementField(vectors, GRID))
    there = Grid(GRID.size, GRID.spacing, (300.0, 0.0, 0.0))
    elsewhere = DisplacementField(np.zeros((*GRID.shape, 3), dtype=np.float32), there)
    write_field(files / "elsewhere.nii.gz", elsewhere)
    resolved = [str(files / part) if "." in part else part for part in options]
    out, rejected = files / "out.json", files / "rejected.json"
    result = run("--landmarks", files / "landmarks.csv", *resolved, "--out", out, "--rejected", rejected)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not out.exists()
    if "[bad_usage]" in result.stderr:  # no fault of the case
        assert not rejected.exists()
    else:
        assert read_json(rejected)["stage"] == "evaluate"


def test_landmark_outside_names_line_and_file(files: Path) -> None:
    far = PointPairs(np.array([[0.0, 0.0, -30.0], [900.0, 0.0, 0.0]]), np.zeros((2, 3)))
    write_point_pairs(files / "far.csv", far)
    result = run("--landmarks", files / "far.csv", "--field", files / "field.nii.gz")
    assert result.exit_code == 2
    assert "far.csv: line 3" in result.stderr
    assert "900.0" in result.stderr
