"""DIR-Lab cases: geometry, intensity, landmarks where the image says they are, and refusals."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from lcsd.build.pairs import read_pairs
from lcsd.cli.import_ import command
from lcsd.errors import BadInputError
from lcsd.importers import dirlab
from lcsd.importers.dirlab import GEOMETRY, Geometry, find_cases, part_of
from lcsd.io.files import sha256
from lcsd.io.images import read_image
from lcsd.io.points import read_point_pairs

SMALL = Geometry((12, 10, 7), (0.5, 0.75, 2.5))
POINTS = {"inhale": [[1, 1, 1], [12, 10, 7], [3, 4, 5]], "exhale": [[2, 1, 1], [12, 9, 6], [3, 5, 5]]}
MARKS = (2000, 2100, 2200)


def volume(points: list[list[int]]) -> np.ndarray:
    """Return raw values, (z, y, x): air, lung and what is outside; the points' voxels differ."""
    raw = np.full(SMALL.size[::-1], 30, dtype="<i2")
    raw[:, 2:8, 2:10] = 200
    raw[:, 0, 5:] = -2000
    for (x, y, z), value in zip(points, MARKS, strict=True):
        raw[z - 1, y - 1, x - 1] = value
    return raw


def text(points: list[list[int]]) -> str:
    return "".join(f"{x}\t{y}\t{z}\n" for x, y, z in points)


@pytest.fixture
def copd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(GEOMETRY, "copd1", SMALL)
    monkeypatch.setitem(GEOMETRY, "4dct8", SMALL)
    folder = tmp_path / "source" / "copd1"
    folder.mkdir(parents=True)
    for letter, phase in (("i", "inhale"), ("e", "exhale")):
        volume(POINTS[phase]).tofile(folder / f"copd1_{letter}BHCT.img")
        (folder / f"copd1_300_{letter}BH_xyz_r1.txt").write_text(text(POINTS[phase]))
    return tmp_path / "source"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, ["dirlab", *(str(part) for part in arguments)])


@pytest.mark.parametrize("first", ["head", "feet"])
def test_landmarks_lie_on_the_voxels_they_name(copd: Path, first: str) -> None:
    out = copd.parent / "out"
    result = run(copd, out, "--first-slice", first, "--json")
    assert result.exit_code == 0, result.output
    assert "copd1 has 3 landmarks, not 300" in result.stderr
    (pair,) = read_pairs(out / "pairs.tsv")
    assert (pair.case, pair.role, pair.fixed_time, pair.moving_time) == ("copd1", "test", "inhale", "exhale")
    assert pair.landmarks is not None
    landmarks = read_point_pairs(pair.landmarks)
    for source, points in ((pair.fixed_source, landmarks.fixed), (pair.moving_source, landmarks.moving)):
        image = read_image(Path(source))
        assert image.array.dtype == np.int16
        i, j, k = np.rint(image.grid.world_to_voxel(points)).astype(int).T
        np.testing.assert_array_equal(image.array[k, j, i], np.array(MARKS) - 1024)
        assert image.array.min() == -1024
        np.testing.assert_allclose(image.grid.spacing, SMALL.spacing)
        np.testing.assert_allclose(image.grid.matrix, np.eye(3))
    # The file's first slice is at the head: a larger z in LPS.
    assert (landmarks.fixed[0, 2] > landmarks.fixed[1, 2]) == (first == "head")
    assert landmarks.fixed[0, 0] < landmarks.fixed[1, 0]
    mean = np.mean([0.5, np.hypot(0.75, 2.5), 0.75])
    assert json.loads(result.stdout)["copd1_mean_distance_mm"] == pytest.approx(mean, abs=1e-6)


def test_zip_and_folder_give_the_same_bytes_and_the_phase_can_be_turned(copd: Path) -> None:
    packed = copd.parent / "copd1.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as content:
        for path in copd.rglob("*.*"):
            content.write(path, path.relative_to(copd))
    assert run(copd, copd.parent / "a").exit_code == 0
    result = run(packed, copd.parent / "b")
    assert result.exit_code == 0, result.output
    names = sorted(p.relative_to(copd.parent / "a") for p in (copd.parent / "a").rglob("*.*"))
    assert len(names) == 5  # two scans, landmarks, the table and its provenance
    for name in names:
        if "provenance" not in name.name:
            assert sha256(copd.parent / "a" / name) == sha256(copd.parent / "b" / name)
    assert run(copd, copd.parent / "c", "--fixed", "exhale").exit_code == 0
    turned = read_point_pairs(copd.parent / "c" / "cases" / "copd1" / "landmarks.csv")
    before = read_point_pairs(copd.parent / "a" / "cases" / "copd1" / "landmarks.csv")
    np.testing.assert_allclose(turned.fixed, before.moving)


def refused(code: str, result: Result, out: Path) -> str:
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if "error" in line]
    assert len(lines) == 1
    assert f"[{code}]" in lines[0]
    assert not out.exists()
    assert not list(out.parent.glob(".*"))
    return lines[0]


def test_what_is_wrong_is_named_and_nothing_is_left(copd: Path) -> None:
    out, folder = copd.parent / "out", copd / "copd1"
    refused("unknown_case", run(copd, out, "--cases", "copd11"), out)
    assert "copd2" in refused("incomplete_case", run(copd, out, "--cases", "copd1,copd2"), out)
    refused("missing_file", run(copd / "x", out), out)
    assert "--intercept" in refused("bad_intensity", run(copd, out, "--intercept", 0), out)
    good = (folder / "copd1_eBHCT.img").read_bytes()
    (folder / "copd1_eBHCT.img").write_bytes(good[:-2])
    refused("bad_size", run(copd, out), out)
    (folder / "copd1_eBHCT.img").write_bytes(good)
    landmarks = folder / "copd1_300_eBH_xyz_r1.txt"
    for content, code in (
        (text(POINTS["exhale"][:2]), "unequal_counts"),
        ("1 1 1\n1 1 1\n1 1 99\n", "landmark_outside"),
        ("1 1 1\n1 1 nan\n1 1 1\n", "bad_number"),
    ):
        landmarks.write_text(content)
        refused(code, run(copd, out), out)
    landmarks.unlink()
    assert "exhale landmarks" in refused("incomplete_case", run(copd, out), out)
    landmarks.write_text(text(POINTS["exhale"]))
    (copd / "copd1_iBHCT.img").write_bytes(good)
    refused("duplicate_file", run(copd, out), out)
    (copd / "empty").mkdir()
    refused("no_cases", run(copd / "empty", out), out)
    out.mkdir()
    (out / "mine").write_text("kept")
    assert run(copd, out).exit_code == 2
    assert [p.name for p in out.iterdir()] == ["mine"]


def test_files_in_hu_are_read_with_intercept_0(copd: Path) -> None:
    for path in copd.rglob("*.img"):
        raw = np.fromfile(path, "<i2")
        np.where(raw == -2000, raw, raw - 1024).astype("<i2").tofile(path)
    out = copd.parent / "out"
    refused("bad_intensity", run(copd, out), out)
    assert run(copd, out, "--intercept", 0).exit_code == 0
    image = read_image(out / "cases" / "copd1" / "fixed.nii.gz")
    assert image.array.min() == -1024
    assert image.array.max() == MARKS[-1] - 1024


def test_air_below_air_is_refused_though_tissue_looks_like_lung() -> None:
    raw = np.array([-2000, -1000, -1000, 40, 40, 60], dtype=np.int16)  # in HU already
    with pytest.raises(BadInputError, match="bad_intensity"):
        dirlab.to_hu(raw, intercept=-1024.0, file=Path("a.img"))
    np.testing.assert_array_equal(
        dirlab.to_hu(raw, intercept=0.0, file=Path("a.img")), [-1024, -1000, -1000, 40, 40, 60]
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("copd1_iBHCT.img", ("copd1", "inhale", "image")),
        ("copd10_300_eBH_xyz_r1.txt", ("copd10", "exhale", "landmarks")),
        ("case1_T00_s.img", ("4dct1", "inhale", "image")),
        ("case6_T50.img", ("4dct6", "exhale", "image")),
        ("case7_T00-ssm.img", ("4dct7", "inhale", "image")),
        ("Case1_300_T00_xyz.txt", ("4dct1", "inhale", "landmarks")),
        ("case8_dirLab300_T50_xyz.txt", ("4dct8", "exhale", "landmarks")),
        ("case1_T10_s.img", None),
        ("copd11_iBHCT.img", None),
        ("case1_4D-75_T00.txt", None),
    ],
)
def test_files_are_told_by_their_names(name: str, expected: tuple[str, str, str] | None) -> None:
    assert part_of(name) == expected


def test_cases_come_in_the_order_of_the_dataset() -> None:
    names = [
        Path(template.format(n, phase))
        for n in (10, 2)
        for phase in "ie"
        for template in ("copd{}_{}BHCT.img", "copd{}_300_{}BH_xyz_r1.txt")
    ]
    assert list(find_cases(names)) == ["copd2", "copd10"]


def test_table_has_twenty_cases_of_plausible_size() -> None:
    assert len(dirlab.GEOMETRY) == 20
    for geometry in dirlab.GEOMETRY.values():
        extent = np.array(geometry.size) * geometry.spacing
        assert (extent[:2] > 240).all()
        assert (extent < 510).all()
        assert 230 < extent[2] < 350
