"""PVT1010 and LCSD500: clouds, their table, and landmarks in the clouds' space."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lcsd.geometry import Grid
from lcsd.importers.pvt1010 import CT_SCANS, landmark_grid
from lcsd.io.images import Image, write_mask
from lcsd.io.points import read_cloud, read_point_pairs
from tests.unit.importers.calls import refused, rows_of, run

GRID = Grid((20, 16, 12), (1.5, 1.5, 1.5), (-100.0, -80.0, -300.0))
PAIR_HEADER = "fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z"


def vtk(path: Path, points: np.ndarray) -> None:
    lines = ["# vtk DataFile Version 3.0", "cloud", "ASCII", "DATASET POLYDATA", f"POINTS {len(points)} float"]
    path.write_text("\n".join([*lines, *(" ".join(map(str, p)) for p in points)]) + "\n", encoding="utf-8")


@pytest.fixture
def pvt(tmp_path: Path) -> Path:
    source = tmp_path / "pvt"
    source.mkdir()
    rng = np.random.default_rng(0)
    for number in (7, 77):
        for phase in ("INSP", "EXP"):
            points = rng.uniform((-120, -100, -280), (120, -10, -60), (40, 3))
            vtk(source / f"copd_{number:06d}_{phase}.vtk", points.round(3))
    for letter in "ie":
        # Both scans of case 7 begin elsewhere and have other numbers of slices.
        (source / f"copd7_300_{letter}BH_xyz_r1.txt").write_text("100\t200\t30\n300\t220\t90\n")
    return source


def test_pvt1010_clouds_and_landmarks(pvt: Path) -> None:
    out = pvt.parent / "out"
    result = run("pvt1010", pvt, out, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["with_landmarks"] == 1
    rows = rows_of(out / "clouds.tsv")
    assert [(r["case"], r["role"], r["fixed_time"]) for r in rows] == [
        ("copd_000007", "test", "inhale"),
        ("copd_000077", "train", "inhale"),
    ]
    assert rows[1]["landmarks"] == ""
    cloud = read_cloud(out / rows[0]["moving_cloud"])
    text = (pvt / "copd_000007_EXP.vtk").read_text().splitlines()[5:]
    np.testing.assert_allclose(cloud.points, [list(map(float, t.split())) for t in text], atol=1e-4)
    landmarks = read_point_pairs(out / rows[0]["landmarks"])
    # x = origin + spacing i; z = origin + 0.625 (slices - 4 k + 2): the authors' mapping.
    np.testing.assert_allclose(
        landmarks.fixed[0], [-150.7 + 62.5, -160 + 125, -301.375 + 0.625 * (446 - 120 + 2)], atol=1e-4
    )
    np.testing.assert_allclose(
        landmarks.moving[1], [-151 + 187.5, -160 + 137.5, -284.25 + 0.625 * (407 - 360 + 2)], atol=1e-4
    )


def test_pvt1010_landmarks_must_fit_the_clouds(pvt: Path) -> None:
    out = pvt.parent / "out"
    assert "other --frame" in refused("wrong_frame", run("pvt1010", pvt, out, "--frame", "ras"), out)
    (pvt / "copd7_300_eBH_xyz_r1.txt").write_text("100\t200\t30\n300\t220\t5\n")
    assert "eBH" in refused("landmark_outside", run("pvt1010", pvt, out), out)


def test_pvt1010_says_that_one_text_is_no_pair(pvt: Path) -> None:
    (pvt / "copd7_300_eBH_xyz_r1.txt").unlink()
    result = run("pvt1010", pvt, pvt.parent / "out")
    assert result.exit_code == 0, result.output
    assert "copd7_300_iBH_xyz_r1.txt left out" in result.stderr
    assert rows_of(pvt.parent / "out" / "clouds.tsv")[0]["landmarks"] == ""


def test_every_archive_stands_in_the_provenance(pvt: Path) -> None:
    for number, path in enumerate(sorted(pvt.glob("*77*"))):
        (pvt / str(number)).mkdir()
        with zipfile.ZipFile(pvt / str(number) / ("data.zip", "DATA.ZIP")[number], "w") as content:
            content.write(path, path.name)
        path.unlink()
    (pvt / "1" / "DATA.ZIP").rename(pvt / "1" / "data.zip")
    (pvt / "0" / "data.zip").rename(pvt / "0" / "data.ZIP")
    assert run("pvt1010", pvt, pvt.parent / "out").exit_code == 0
    inputs = json.loads((pvt.parent / "out" / "clouds.provenance.json").read_text())["inputs"]
    assert sorted(inputs) == [
        "0/data.ZIP",
        "1/data.zip",
        "copd7_300_eBH_xyz_r1.txt",
        "copd7_300_iBH_xyz_r1.txt",
        "copd_000007_EXP.vtk",
        "copd_000007_INSP.vtk",
    ]


def test_pvt1010_frame_and_phase_are_options(pvt: Path) -> None:
    assert run("pvt1010", pvt, pvt.parent / "a").exit_code == 0
    for text in pvt.glob("*.txt"):
        text.unlink()
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
    assert sorted(CT_SCANS) == list(range(1, 11))
    for scans in CT_SCANS.values():
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
    assert sorted(p.name for p in out.iterdir()) == ["cases", "clouds.provenance.json", "clouds.tsv"]


def test_lcsd500_says_what_is_wrong(lcsd: Path) -> None:
    out = lcsd.parent / "out"
    refused("missing_frame", run("lcsd500", lcsd, out, *PATTERNS, *TABLES), out)
    refused("wrong_frame", run("lcsd500", lcsd, out, *PATTERNS, *TABLES, "--frame", "lps"), out)
    pairs = lcsd / "pairs_case_1.csv"
    pairs.write_text("3,4,5,4,4,30\n")
    refused("landmark_outside", run("lcsd500", lcsd, out, *PATTERNS, *TABLES, "--frame", "voxel"), out)
    # A registration may carry points a little out of the map: 14 voxels of 1.5 mm.
    pairs.write_text("3,4,5,4,4,25\n")
    assert run("lcsd500", lcsd, lcsd.parent / "ok", *PATTERNS, *TABLES, "--frame", "voxel").exit_code == 0
    refused("bad_pattern", run("lcsd500", lcsd, out, "--fixed", "a", "--moving", "{case}"), out)
    other = ("--fixed", "{case}_x.nii.gz", "--moving", "{case}_y.nii.gz")
    refused("no_cases", run("lcsd500", lcsd, out, *other), out)
    (lcsd / "case_1_1.nii.gz").unlink()
    refused("incomplete_case", run("lcsd500", lcsd, out, *PATTERNS), out)
