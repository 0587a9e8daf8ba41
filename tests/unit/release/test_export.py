"""Submissions to Learn2Reg: the motion of a build, in voxels of the images that were given."""

import json
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from click.testing import CliRunner, Result

from lcsd.cli.main import main
from lcsd.errors import BadInputError
from lcsd.evaluation.evaluate import evaluate_tre
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.fields import DisplacementField, write_field
from lcsd.io.files import sha256, write_table
from lcsd.io.images import Image, write_image, write_rigid
from lcsd.io.points import PointPairs
from lcsd.release.export import submission_name
from lcsd.transforms.learn2reg import read_disp
from tests.grids import GRIDS
from tests.unit.release.made_up import RIGID

COMMON = Grid((14, 12, 10), (3.0, 3.0, 3.0), (-38.0, 5.0, -712.0))
MOVING = Grid((16, 15, 14), (2.0, 2.5, 3.0), (-40.0, -50.0, -690.0), GRIDS["flipped_z"].direction)
COLUMNS = ("case", "patient_id", "role", "fixed_source", "moving_source", "fixed_time", "moving_time")


def motion(seed: int) -> DisplacementField:
    """A smooth field in common space; linear along each axis, so that every grid samples it exactly."""
    rng = np.random.default_rng(seed)
    matrix, shift = rng.normal(scale=0.02, size=(3, 3)), rng.normal(scale=3.0, size=3)
    z, y, x = np.meshgrid(*(np.arange(n) for n in COMMON.shape), indexing="ij")
    points = COMMON.voxel_to_world(np.stack([x, y, z], axis=-1).astype(float))
    return DisplacementField(((points - COMMON.centre) @ matrix.T + shift).astype(np.float32), COMMON)


def build(folder: Path, roles: dict[str, str], fixed: Grid, rigid: RigidTransform = RIGID) -> Path:
    rows = []
    for number, (case, role) in enumerate(roles.items()):
        place = folder / "results" / "cases" / case
        write_field(place / "registration" / "field.nii.gz", motion(number))
        write_rigid(place / "images" / "rigid.tfm", rigid)
        row: dict[str, object] = {"case": case, "patient_id": case, "role": role}
        for scan, grid in (("fixed", fixed), ("moving", MOVING)):
            write_image(folder / "given" / case / f"{scan}.nii.gz", Image(np.zeros(grid.shape), grid), dtype=np.int16)
            row |= {f"{scan}_source": f"given/{case}/{scan}.nii.gz", f"{scan}_time": scan}
        rows.append(row)
    write_table(folder / "pairs.tsv", COLUMNS, rows)
    return folder / "results"


def run(folder: Path, *options: object, out: str = "out.zip") -> Result:
    arguments = ["export", "learn2reg", folder / "results", folder / out, "--manifest", folder / "pairs.tsv", *options]
    return CliRunner().invoke(main, [str(part) for part in arguments])


def unpacked(folder: Path, out: str = "out.zip") -> list[Path]:
    with zipfile.ZipFile(folder / out) as archive:
        archive.extractall(folder / "submission")
        return [folder / "submission" / name for name in archive.namelist()]


@pytest.mark.slow
@pytest.mark.parametrize("name", GRIDS)
def test_a_voxel_goes_where_field_and_rigid_step_carry_it(tmp_path: Path, name: str) -> None:
    fixed = GRIDS[name]
    build(tmp_path, {"NLST_0101": "test", "NLST_0102": "test", "NLST_0001": "train"}, fixed)
    result = run(tmp_path, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["cases"] == 2
    files = unpacked(tmp_path)
    assert [file.name for file in files] == ["disp_0101_0101.nii.gz", "disp_0102_0102.nii.gz"]
    for number, file in enumerate(files):
        volume = nibabel.load(file)
        assert (volume.shape, volume.get_data_dtype()) == ((*fixed.size, 3), np.float32)
        for voxel in ((0, 0, 0), (4, 3, 2), (10, 7, 5)):
            point = fixed.voxel_to_world(np.array([voxel], dtype=float))
            moved = RIGID.apply(point + motion(number).at(point))
            expected = MOVING.world_to_voxel(moved)[0] - voxel
            np.testing.assert_allclose(np.asarray(volume.dataobj)[voxel], expected, atol=1e-3)


def test_errors_of_the_submission_are_those_of_the_build(tmp_path: Path) -> None:
    fixed = GRIDS["oblique"]
    build(tmp_path, {"NLST_0101": "test"}, fixed)
    assert run(tmp_path).exit_code == 0
    rng = np.random.default_rng(3)
    # At voxel centres, where splines are exact: near a border they do not follow a slope.
    points = fixed.voxel_to_world(rng.integers(0, fixed.size, size=(20, 3)).astype(float))
    landmarks = PointPairs(points, RIGID.apply(points + rng.normal(size=(20, 3))))
    (file,) = unpacked(tmp_path)
    theirs = evaluate_tre(landmarks, disp=read_disp(file, moving_grid=MOVING))
    ours = evaluate_tre(landmarks, field=motion(0), rigid=RIGID)
    np.testing.assert_allclose(theirs.tre, ours.tre, atol=1e-3)


def test_equal_builds_give_equal_bytes(tmp_path: Path) -> None:
    build(tmp_path, {"NLST_0101": "test"}, GRIDS["ras"])
    assert run(tmp_path).exit_code == run(tmp_path, out="again.zip").exit_code == 0
    assert sha256(tmp_path / "out.zip") == sha256(tmp_path / "again.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.zip", "given", "out.zip", "pairs.tsv", "results"]


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("LungCT_CT_0003", "disp_0003_0003.nii.gz"),
        ("Thorax_0011_0001_0011_0000", "disp_0011_0001_0011_0000.nii.gz"),
        ("OASIS_0395_0000_0396_0000", "disp_0395_0396.nii.gz"),
        ("A_0001_0000_0002_0001", "disp_0001_0002.nii.gz"),
    ],
)
def test_files_are_named_as_the_challenge_expects(case: str, name: str) -> None:
    assert submission_name(case) == name


@pytest.mark.parametrize("case", ["copd1", "NLST_101", "0001", "NLST_0001_0000"])
def test_other_names_of_cases_are_refused(case: str) -> None:
    with pytest.raises(BadInputError, match=r"\[bad_case_name\]"):
        submission_name(case)


def refused(code: str, result: Result, folder: Path) -> str:
    assert result.exit_code == 2, result.output
    assert f"[{code}]" in result.stderr
    assert not (folder / "out.zip").exists()
    assert not list(folder.glob(".*"))
    return result.stderr


def test_incomplete_submissions_are_refused_and_name_the_cases(tmp_path: Path) -> None:
    results = build(tmp_path, {"NLST_0101": "test", "NLST_0102": "test", "NLST_0001": "train"}, GRIDS["lps"])
    (results / "cases" / "NLST_0102" / "registration" / "field.nii.gz").unlink()
    assert "no field of NLST_0102" in refused("incomplete_submission", run(tmp_path), tmp_path)
    refused("incomplete_submission", run(tmp_path, "--method", "corrfield"), tmp_path)
    refused("unknown_case", run(tmp_path, "--cases", "NLST_0101,x"), tmp_path)
    assert run(tmp_path, "--cases", "NLST_0001").exit_code == 0
    assert [file.name for file in unpacked(tmp_path)] == ["disp_0001_0001.nii.gz"]


def test_what_fits_no_submission_is_refused(tmp_path: Path) -> None:
    results = build(tmp_path, {"NLST_0101": "test", "Lung_0101": "test"}, GRIDS["lps"])
    assert "NLST_0101 and Lung_0101" in refused("duplicate_name", run(tmp_path), tmp_path)
    assert "[bad_suffix]" in run(tmp_path, out="out.tar").stderr
    table = (tmp_path / "pairs.tsv").read_text()
    (tmp_path / "pairs.tsv").write_text(table.replace("given/NLST_0101/moving.nii.gz", "given/NLST_0101"))
    refused("not_a_volume", run(tmp_path, "--cases", "NLST_0101"), tmp_path)
    (tmp_path / "pairs.tsv").write_text(table.replace("\ttest\t", "\ttrain\t"))
    refused("unknown_case", run(tmp_path), tmp_path)
    assert results.is_dir()


def test_field_that_reads_as_another_one_is_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lcsd.release import export

    build(tmp_path, {"NLST_0101": "test"}, GRIDS["lps"])

    def wrong(path: Path, disp: export.VoxelDisplacements) -> None:
        export_of(path, type(disp)(disp.vectors + 1, disp.fixed, disp.moving))

    export_of = export.write_disp
    monkeypatch.setattr(export, "write_disp", wrong)
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "[bad_output]" in result.stderr
    assert not (tmp_path / "out.zip").exists()
