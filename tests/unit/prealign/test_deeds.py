"""The rigid step by linearBCV: the known matrix of a stand-in becomes the true motion in mm.

The stand-in turns a motion of RAS millimetres into the program's matrix with the affine of the
image it is given, so it shares no code with what is tested.
"""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from click.testing import CliRunner

from lcsd.cli.main import main
from lcsd.errors import WorkError
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.files import read_json, sha256
from lcsd.io.images import Image, read_rigid, write_image, write_mask
from lcsd.prealign.common import common_grid, resample_hu
from lcsd.prealign.deeds import rigid_from_voxels
from lcsd.prealign.prealign import prealign
from lcsd.settings.prealign import PrealignSettings
from tests.grids import GRIDS, _rotation
from tests.thorax import CENTRE, scan, thorax_grid
from tests.unit.prealign.pairs import MOTION, SMALL, error_mm, moved_scan
from tests.unit.prealign.standin import printing, write_program

SHIFT = RigidTransform(np.eye(3), np.array([-300.0, 40.0, 900.0]))

BODY = """
import json, shutil
given = json.load(open({facts!r}))
inner = np.linalg.inv(fixed.affine) @ np.array(given["ras"]) @ fixed.affine
np.savetxt(prefix + "_matrix.txt", inner.T, fmt="%.17g", delimiter="  ")
for name, value in zip(("fixed", "moving"), values):
    shutil.copy(value, given["seen"] + "/" + name + ".nii.gz")
"""


def homogeneous(rigid: RigidTransform) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rigid.rotation, rigid.translation
    return matrix


def mean_place(mask: Image) -> np.ndarray:
    voxels = np.argwhere(mask.array)[:, ::-1].astype(float)
    return mask.grid.voxel_to_world(voxels).mean(axis=0)


def stand_in(tmp_path: Path, truth: RigidTransform, first: Image, second: Image) -> Path:
    """Return a program that finds ``truth`` (LPS, scan to scan) between the centred images."""
    start = homogeneous(RigidTransform(np.eye(3), mean_place(second) - mean_place(first)))
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    ras = flip @ np.linalg.inv(start) @ homogeneous(truth) @ flip
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps({"ras": ras.tolist(), "seen": str(tmp_path)}))
    return write_program(tmp_path / "linearBCV", BODY.format(facts=str(facts)))


@pytest.mark.slow
@pytest.mark.parametrize("motion", [SHIFT, MOTION], ids=["shift", "rotation"])
@pytest.mark.parametrize(
    ("one", "other", "spacing"),
    [
        ("lps", "lps", (4.0, 4.0, 4.0)),
        ("ras", "ras", (4.0, 4.0, 4.0)),
        ("lps", "ras", (2.5, 3.5, 4.5)),
        ("oblique", "permuted", (3.0, 4.0, 5.0)),
        ("left_handed", "oblique", (3.0, 4.0, 5.0)),
    ],
)
def test_known_matrix_becomes_the_true_motion(
    tmp_path: Path, motion: RigidTransform, one: str, other: str, spacing: tuple[float, float, float]
) -> None:
    first = scan(thorax_grid(spacing, GRIDS[one].matrix))
    second = moved_scan(other, spacing, motion)
    program = stand_in(tmp_path, motion, first["lungs"], second["lungs"])
    settings = SMALL.model_copy(update={"method": "deeds", "linear_bcv": str(program)})
    pair = prealign(
        first["hu"], second["hu"], fixed_mask=first["lungs"], moving_mask=second["lungs"], settings=settings, threads=1
    )
    points = CENTRE + np.random.default_rng(0).uniform(-120, 120, (50, 3))
    apart = np.linalg.norm(pair.rigid.apply(points) - motion.apply(points), axis=1)
    assert apart.max() < 1e-6
    assert pair.rigid.rotation @ pair.rigid.rotation.T == pytest.approx(np.eye(3), abs=1e-12)
    assert pair.report["method"] == "deeds"
    assert pair.report["linear_bcv_path"] == str(program)
    assert pair.report["linear_bcv_sha256"] == sha256(program)
    assert pair.report["dice_aligned"] > 0.95
    # Input of the program: the fixed scan on the common grid, and the centred moving scan.
    seen = np.asanyarray(nibabel.load(tmp_path / "fixed.nii.gz").dataobj).transpose(2, 1, 0)
    grid = common_grid(first["lungs"], settings)
    assert (seen == np.rint(resample_hu(first["hu"], grid).array)).all()
    start = RigidTransform(np.eye(3), mean_place(second["lungs"]) - mean_place(first["lungs"]))
    seen = np.asanyarray(nibabel.load(tmp_path / "moving.nii.gz").dataobj).transpose(2, 1, 0)
    other_hu = resample_hu(second["hu"], grid, transform=start).array
    assert np.abs(seen - other_hu).max() < 0.51


@pytest.mark.parametrize("name", ["lps", "ras", "flipped_z", "left_handed"])
def test_voxel_matrix_on_grids_of_every_direction(name: str) -> None:
    direction = tuple(float(v) for v in GRIDS[name].matrix.ravel())
    grid = Grid((40, 30, 20), (1.5, 1.5, 1.5), (-30.0, 12.5, -700.0), direction)
    rotation = _rotation((5, -7, 11))
    matrix = homogeneous(RigidTransform(rotation, np.array([3.5, -2.0, 8.0])))
    rigid = rigid_from_voxels(matrix, grid)
    voxels = np.random.default_rng(1).uniform(0, 20, (20, 3))
    expected = grid.voxel_to_world(voxels @ rotation.T + [3.5, -2.0, 8.0])
    assert np.abs(rigid.apply(grid.voxel_to_world(voxels)) - expected).max() < 1e-9
    assert np.linalg.det(rigid.rotation) == pytest.approx(1, abs=1e-12)


def test_rounding_is_projected_and_the_middle_stays() -> None:
    grid = Grid((40, 30, 20), (1.5, 1.5, 1.5), (-30.0, 12.5, -700.0))
    exact = homogeneous(RigidTransform(_rotation((5, -7, 11)), np.array([3.5, -2.0, 8.0])))
    rounded = exact * (1 + 5e-4 * np.sign(exact))
    rounded[3] = exact[3]
    rigid = rigid_from_voxels(rounded, grid)
    assert rigid.rotation @ rigid.rotation.T == pytest.approx(np.eye(3), abs=1e-12)
    middle = np.append((np.asarray(grid.size) - 1) / 2, 1)
    assert rigid.apply(grid.centre) == pytest.approx(grid.voxel_to_world((rounded @ middle)[:3]))


@pytest.mark.parametrize(
    ("linear", "found"),
    [
        (np.diag([1.02, 1.0, 0.98]), "0.98 to 1.02"),
        (np.diag([-1.0, 1.0, 1.0]), "a reflection"),
        (np.zeros((3, 3)), "0 to 0"),
        (np.eye(3) + np.array([[0, 0.01, 0], [0, 0, 0], [0, 0, 0]]), "0.995"),
    ],
)
def test_what_is_not_rigid_is_refused(linear: np.ndarray, found: str) -> None:
    with pytest.raises(WorkError) as caught:
        rigid_from_voxels(homogeneous(RigidTransform(linear, np.zeros(3))), GRIDS["lps"])
    error = caught.value
    assert error.code == "not_rigid"
    assert found in str(error.found)
    assert "prealign.linear_bcv" in error.message
    assert "\n" not in error.message


def write_case(folder: Path, first: dict[str, Image], second: dict[str, Image]) -> list[str]:
    """Write a pair; return the arguments of ``lcsd prealign`` on it."""
    for role, case in (("fixed", first), ("moving", second)):
        write_image(folder / f"{role}_hu.nii.gz", case["hu"], dtype=np.int16)
        write_mask(folder / f"{role}_mask.nii.gz", case["lungs"])
    masks = [f"--{role}-mask={folder}/{role}_mask.nii.gz" for role in ("fixed", "moving")]
    out = f"--out-dir={folder}/out"
    return ["prealign", f"{folder}/fixed_hu.nii.gz", f"{folder}/moving_hu.nii.gz", *masks, out]


@pytest.mark.slow
def test_command_runs_the_program_with_the_jobs_threads(tmp_path: Path, first: dict[str, Image]) -> None:
    second = moved_scan("ras", (2.5, 2.5, 2.5))
    program = stand_in(tmp_path, MOTION, first["lungs"], second["lungs"])
    text = program.read_text() + "assert os.environ['OMP_NUM_THREADS'] == '2'\n"
    program.write_text(text)
    options = [
        "--threads=2",
        "--set=method=deeds",
        f"--set=linear_bcv={json.dumps(str(program))}",
        "--set=size=[64,44,50]",
        "--set=spacing_mm=3.0",
    ]
    result = CliRunner().invoke(main, [*write_case(tmp_path, first, second), *options])
    assert result.exit_code == 0, result.output
    assert error_mm(read_rigid(tmp_path / "out" / "rigid.tfm"), first) < 1e-4  # text of a file
    report = read_json(tmp_path / "out" / "prealign.json")
    assert report["linear_bcv_sha256"] == sha256(program)


@pytest.mark.parametrize("kind", ["missing", "affine"])
def test_command_fails_with_one_line_and_sets_a_case_aside_for_its_own_fault(
    tmp_path: Path, first: dict[str, Image], kind: str
) -> None:
    affine = "1.1  0  0  0\n0  1  0  0\n0  0  1  0\n0  0  0  1\n"
    program = tmp_path / "linearBCV"
    if kind == "affine":
        write_program(program, printing(affine))
    options = [
        f"--rejected={tmp_path}/rejected.json",
        "--set=method=deeds",
        f"--set=linear_bcv={json.dumps(str(program))}",
        "--set=size=[64,44,50]",
        "--set=spacing_mm=3.0",
    ]
    result = CliRunner().invoke(main, [*write_case(tmp_path, first, first), *options])
    code, reason = {"missing": (2, "missing_program"), "affine": (1, "not_rigid")}[kind]
    assert result.exit_code == code
    assert f"[{reason}]" in result.stderr
    if kind == "affine":
        assert read_json(tmp_path / "rejected.json")["code"] == reason
    else:  # the program is missing on this machine
        assert not (tmp_path / "rejected.json").exists()
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(shutil.which("linearBCV") is None, reason="linearBCV is not on the PATH")
def test_the_real_program_finds_a_known_motion(first: dict[str, Image]) -> None:
    """An external program, so the limit is loose: a wrong axis or direction costs tens of mm."""
    second = moved_scan("oblique", (2.0, 2.0, 3.0))
    settings = PrealignSettings(method="deeds", size=(130, 104, 96), spacing_mm=2.0)
    pair = prealign(
        first["hu"], second["hu"], fixed_mask=first["lungs"], moving_mask=second["lungs"], settings=settings, threads=2
    )
    assert error_mm(pair.rigid, first) < 3.0
