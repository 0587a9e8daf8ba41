"""PVT1010 and LCSD500: clouds, their table, and landmarks in the clouds' space."""

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from lcsd.cli.import_ import command
from lcsd.geometry import Grid
from lcsd.images import Image, write_mask
from lcsd.importers.pvt1010 import SCANS, landmark_grid
from lcsd.points import read_cloud, read_point_pairs

GRID = Grid((20, 16, 12), (1.5, 1.5, 1.5), (-100.0, -80.0, -300.0))
PAIR_HEADER = "fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(part) for part in arguments])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def refused(code: str, result: Result, out: Path) -> None:
    assert result.exit_code == 2, result.output
    assert f"[{code}]" in result.stderr
    assert "Traceback" not in result.stderr
    assert not out.exists()


def vtk(path: Path, points: np.ndarray) -> None:
    lines = ["# vtk DataFile Version 3.0", "cloud", "ASCII", "DATASET POLYDATA",
             f"POINTS {len(points)} float"]  # fmt: skip
    path.write_text("\n".join([*lines, *(" ".join(map(str, p)) for p in points)]) + "\n")


@pytest.fixture
def pvt(tmp_path: Path) -> Path:
    source = tmp_path / "pvt"
    source.mkdir()
    rng = np.random.default_rng(0)
    for number in (1, 77):
        for phase in ("INSP", "EXP"):
            vtk(source / f"copd_{number:06d}_{phase}.vtk", rng.uniform(-90, 90, (40, 3)).round(3))
    for letter in "ie":
        (source / f"copd1_300_{letter}BH_xyz_r1.txt").write_text("100\t200\t30\n300\t220\t90\n")
    return source


def test_pvt1010_clouds_and_landmarks(pvt: Path) -> None:
    out = pvt.parent / "out"
    result = run("pvt1010", pvt, out, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["with_landmarks"] == 1
    rows = rows_of(out / "clouds.tsv")
    assert [(r["case"], r["role"], r["fixed_time"]) for r in rows] == [
        ("copd_000001", "test", "inhale"), ("copd_000077", "train", "inhale"),
    ]  # fmt: skip
    assert rows[1]["landmarks"] == ""
    cloud = read_cloud(out / rows[0]["moving_cloud"])
    text = (pvt / "copd_000001_EXP.vtk").read_text().splitlines()[5:]
    np.testing.assert_allclose(cloud.points, [list(map(float, t.split())) for t in text], atol=1e-4)
    landmarks = read_point_pairs(out / rows[0]["landmarks"])
    # x = origin + spacing i; z = origin + 0.625 (slices - 4 k + 2): the authors' mapping.
    np.testing.assert_allclose(
        landmarks.fixed[0],
        [-148 + 62.5, -145 + 125, -310.625 + 0.625 * (482 - 120 + 2)], atol=1e-4,
    )  # fmt: skip
    np.testing.assert_allclose(landmarks.moving[1, 2], -305 + 0.625 * (473 - 360 + 2), atol=1e-4)


def test_pvt1010_frame_and_phase_are_options(pvt: Path) -> None:
    assert run("pvt1010", pvt, pvt.parent / "a").exit_code == 0
    turned = run("pvt1010", pvt, pvt.parent / "b", "--frame", "ras", "--fixed", "exhale")
    assert turned.exit_code == 0, turned.output
    a = read_cloud(pvt.parent / "a" / "cases" / "copd_000077" / "moving.npz").points
    b = read_cloud(pvt.parent / "b" / "cases" / "copd_000077" / "fixed.npz").points
    np.testing.assert_allclose(a * [-1, -1, 1], b)


def test_pvt1010_says_what_is_missing(pvt: Path) -> None:
    out = pvt.parent / "out"
    (pvt / "copd_000077_EXP.vtk").unlink()
    refused("incomplete_case", run("pvt1010", pvt, out), out)
    (pvt / "copd_000077_EXP.vtk").write_text("no cloud")
    refused("bad_cloud_file", run("pvt1010", pvt, out), out)
    (pvt / "empty").mkdir()
    refused("no_cases", run("pvt1010", pvt / "empty", out), out)


def test_landmark_grids_hold_both_phases_of_all_ten() -> None:
    assert sorted(SCANS) == list(range(1, 11))
    for scans in SCANS.values():
        tops = [landmark_grid(scan).origin[2] for scan in scans.values()]
        # Landmarks of one DIR-Lab text count from the same head end in both phases.
        assert abs(tops[0] - tops[1]) < 20.0


@pytest.fixture
def lcsd(tmp_path: Path) -> Path:
    source = tmp_path / "lcsd500"
    source.mkdir()
    for number in (1, 2):
        for role in (0, 1):
            mask = np.zeros(GRID.shape, dtype=bool)
            mask[3:6, 4 + role : 9, 2 + number : 10] = True
            write_mask(source / f"case_{number}_{role}.nii.gz", Image(mask, GRID))
        (source / f"pairs_case_{number}.csv").write_text(f"{PAIR_HEADER}\n3,4,5,4,4,5\n")
    (source / "marks_case_2.csv").write_text("1,2,3,1,2,4\n")
    return source


PATTERNS = ("--fixed", "{case}_0.nii.gz", "--moving", "{case}_1.nii.gz")
TABLES = ("--correspondences", "pairs_{case}.csv", "--landmarks", "marks_{case}.csv")


def test_lcsd500_by_patterns_from_a_zip(lcsd: Path) -> None:
    packed, out = lcsd.parent / "LCSD500.zip", lcsd.parent / "out"
    with zipfile.ZipFile(packed, "w") as content:
        for path in lcsd.iterdir():
            content.write(path, f"LCSD500/{path.name}")
    result = run("lcsd500", packed, out, *PATTERNS, *TABLES, "--frame", "voxel", "--json")
    assert result.exit_code == 0, result.output
    rows = rows_of(out / "clouds.tsv")
    assert [(r["case"], r["role"]) for r in rows] == [("case_1", "train"), ("case_2", "test")]
    cloud = read_cloud(out / rows[0]["fixed_cloud"])
    assert len(cloud) == 3 * 5 * 7
    np.testing.assert_allclose(cloud.points[0], GRID.voxel_to_world(np.array([3.0, 4, 3])))
    pairs = read_point_pairs(out / rows[0]["correspondences"])
    np.testing.assert_allclose(pairs.fixed, [GRID.voxel_to_world(np.array([3.0, 4, 5]))])
    np.testing.assert_allclose(pairs.moving - pairs.fixed, [[1.5, 0, 0]], atol=1e-9)
    assert rows[1]["landmarks"] == "cases/case_2/landmarks.csv"
    assert sorted(p.name for p in out.iterdir()) == [
        "cases",
        "clouds.provenance.json",
        "clouds.tsv",
    ]


def test_lcsd500_says_what_is_wrong(lcsd: Path) -> None:
    out = lcsd.parent / "out"
    refused("missing_frame", run("lcsd500", lcsd, out, *PATTERNS, *TABLES), out)
    refused("wrong_frame", run("lcsd500", lcsd, out, *PATTERNS, *TABLES, "--frame", "lps"), out)
    refused("bad_pattern", run("lcsd500", lcsd, out, "--fixed", "a", "--moving", "{case}"), out)
    other = ("--fixed", "{case}_x.nii.gz", "--moving", "{case}_y.nii.gz")
    refused("no_cases", run("lcsd500", lcsd, out, *other), out)
    (lcsd / "case_1_1.nii.gz").unlink()
    refused("incomplete_case", run("lcsd500", lcsd, out, *PATTERNS), out)
