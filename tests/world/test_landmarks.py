"""Landmarks as other programs write them: the right positions, or a refusal."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from lcsd.cli.main import main
from lcsd.errors import BadInputError
from lcsd.evaluation.evaluate import evaluate_tre
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField
from lcsd.io.images import Image
from lcsd.io.points import PointPairs, read_point_pairs, write_point_pairs
from lcsd.landmarks.checks import check_landmarks
from lcsd.landmarks.formats import NOTHING_GIVEN, Given, Grids, format_of, read_landmarks
from lcsd.readings.in_mask import check_in_mask
from lcsd.readings.pairing import check_pairing

GRID = Grid((60, 50, 40), (1.5, 1.5, 2.0), (-40.0, -90.0, 300.0))
VOXELS = np.random.default_rng(7).integers(2, 38, (12, 3)).astype(float)
POINTS = GRID.voxel_to_world(VOXELS)
RAS = POINTS * [-1, -1, 1]


def table(header: str, points: np.ndarray, separator: str = ",") -> str:
    """Return a table of labelled points."""
    width = len(header.split(separator)) - 4
    rows = (separator.join([f"F-{n}", *map(str, p), *["1"] * width]) for n, p in enumerate(points.tolist(), 1))
    return "\n".join([header, *rows]) + "\n"


def plain(points: np.ndarray, head: str = "", separator: str = " ") -> str:
    return head + "".join(separator.join(map(str, p)) + "\n" for p in points.tolist())


def markups(points: np.ndarray, frame: str) -> str:
    controls = [{"id": str(n), "label": f"F-{n}", "position": p} for n, p in enumerate(points.tolist(), 1)]
    return json.dumps({"markups": [{"type": "Fiducial", "coordinateSystem": frame, "controlPoints": controls}]})


def fcsv(points: np.ndarray, frame: str) -> str:
    head = f"# Markups fiducial file version = 4.10\n# CoordinateSystem = {frame}\n# columns = id,x,y,z\n"
    return head + "".join(f"{n},{p[0]},{p[1]},{p[2]}\n" for n, p in enumerate(points.tolist(), 1))


@dataclass(frozen=True)
class Row:
    """A file, where it was reported, and its outcome: None for the right points, or a reason code."""

    kind: str
    source: str
    name: str
    content: str
    code: str | None = None
    given: Given = NOTHING_GIVEN


FULL = "label,{},defined,selected,visible,locked,description"
TABLE = [
    Row("Slicer's table", "Slicer 5677", "a.csv", table(FULL.format("r,a,s"), RAS)),
    Row("Slicer's table", "Slicer 6263", "a.csv", table(FULL.format("l,p,s"), POINTS)),
    Row("Slicer's table", "tried here", "a.tsv", table("label\tr\ta\ts", RAS, "\t")),
    Row("Slicer's table", "tried here", "a.csv", table("label,R,A,S", RAS)),
    Row("Slicer's table", "tried here", "a.csv", table("label,r,a,s", RAS), "contradicting_frame", Given("lps")),
    Row("elastix", "SimpleElastix 229", "a.txt", plain(POINTS, "point\n12\n")),
    Row("elastix", "RegNet 13", "a.pts", plain(VOXELS, "index\n12\n")),
    Row("elastix", "elastix 19", "a.txt", plain(POINTS, "point\n13\n"), "bad_count"),
    Row("elastix", "RegNet 13", "a.pts", plain(VOXELS, "index\n12\n"), "contradicting_frame", Given("lps")),
    Row("names", "tried here", "a.csv", table("id,x_ras,y_ras,z_ras", RAS)),
    Row("names", "tried here", "a.csv", table("id,x_mm,y_mm,z_mm", POINTS)),
    Row("names", "tried here", "a.csv", table("id,x_m,y_m,z_m", POINTS / 1000)),
    Row("names", "mne-bids 821", "a.csv", table("id,i,j,k", VOXELS)),
    Row("names", "tried here", "a.txt", plain(POINTS[:, ::-1], "# z y x\n")),
    Row("comment", "tried here", "a.txt", plain(RAS, "# CoordinateSystem = RAS\n")),
    Row("markups", "Slicer 3731", "a.fcsv", fcsv(RAS, "0")),
    Row("markups", "Morpho 17", "a.fcsv", fcsv(POINTS, "LPS")),
    Row("markups", "Slicer 4938", "a.mrk.json", markups(RAS, "RAS")),
    Row("markups", "Slicer 4938", "a.mrk.json", markups(POINTS, "LPS")),
    Row(
        "index",
        "tried here",
        "a.txt",
        "".join(f"{n} {p[0]} {p[1]} {p[2]}\n" for n, p in enumerate(POINTS)),
        "index_column",
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.kind}-{row.source}".replace(" ", "_"))
def test_positions_are_right_or_refused(tmp_path: Path, row: Row) -> None:
    paths = [tmp_path / f"{scan}{row.name[1:]}" for scan in "fm"]
    for path in paths:
        path.write_text(row.content, encoding="utf-8")

    def read() -> PointPairs:
        is_stated = row.kind in {"Slicer's table", "elastix", "markups"}
        form = format_of(paths[0], reading=True) if is_stated else "generic"
        return read_landmarks(paths, form, grids=Grids(GRID), given=row.given).pairs

    if row.code is not None:
        with pytest.raises(BadInputError) as caught:
            read()
        assert caught.value.code == row.code
        return
    found = read()
    np.testing.assert_allclose(found.fixed, POINTS, atol=1e-6)
    np.testing.assert_allclose(found.moving, POINTS, atol=1e-6)


LUNG_GRID = Grid((150, 120, 130), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))


def lung_mask(grid: Grid) -> Image:
    """Return two ellipsoids, the right one larger, off the middle of a grid."""
    z, y, x = np.meshgrid(*[(np.arange(n) + 0.5) / n for n in grid.shape], indexing="ij")
    right = ((x - 0.29) / 0.18) ** 2 + ((y - 0.55) / 0.3) ** 2 + ((z - 0.5) / 0.4) ** 2 < 1
    left = ((x - 0.71) / 0.16) ** 2 + ((y - 0.57) / 0.28) ** 2 + ((z - 0.52) / 0.38) ** 2 < 1
    return Image((right | left).astype(np.uint8), grid)


def inside_points(mask: Image, count: int = 100, seed: int = 0) -> np.ndarray:
    zyx = np.argwhere(mask.array)
    chosen = np.random.default_rng(seed).choice(len(zyx), count, replace=False)
    return mask.grid.voxel_to_world(zyx[chosen][:, ::-1].astype(float))


@pytest.mark.slow
@pytest.mark.parametrize("spacing", [(0.7, 0.7, 1.0), (1.5, 1.5, 1.5), (2.0, 2.0, 2.0), (0.8, 0.8, 2.5)])
@pytest.mark.parametrize("reading", ["voxel", "voxel1", "voxel-zyx", "ras", "zyx"])
def test_numbers_of_another_reading_are_refused(spacing: tuple[float, float, float], reading: str) -> None:
    """Lung250M-4B 6, GroupRegNet 7 (voxels), DeepLung 30 (z, y, x), mne-bids 821 (RAS), brainstorm3 263 (from 1)."""
    mask = lung_mask(
        replace(LUNG_GRID, spacing=spacing, origin=(3.0, -7.0, 5.0) if reading == "ras" else (0.0, 0.0, 0.0))
    )
    points = inside_points(mask)
    voxels = mask.grid.world_to_voxel(points)
    numbers = {
        "voxel": voxels,
        "voxel1": voxels + 1,
        "voxel-zyx": voxels[:, ::-1],
        "ras": points * [-1, -1, 1],
        "zyx": points[:, ::-1],
    }[reading]
    with pytest.raises(BadInputError) as caught:
        check_in_mask(numbers, mask, file=Path("l.csv"))
    assert caught.value.code == "landmark_outside"
    expected = {"voxel-zyx": "--axes zyx", "zyx": "--axes zyx", "ras": "--frame ras"}.get(reading, "--frame voxel")
    assert expected in caught.value.message


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(["zero", "centred", "negative", "ras", "oblique"]),
    count=st.integers(1, 120),
    noise=st.floats(0, 12),
    kept=st.floats(0.4, 1.0),
    seed=st.integers(0, 999),
)
def test_right_landmarks_raise_no_alarm(name: str, count: int, noise: float, kept: float, seed: int) -> None:
    """Also with landmarks near the border and a mask that lacks the lower part of the lungs."""
    size, spacing = (75, 60, 65), (4.0, 4.0, 4.0)
    turned = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)
    grid = {
        "zero": Grid(size, spacing, (0.0, 0.0, 0.0)),
        "centred": Grid(size, spacing, (-148.0, -118.0, -128.0)),
        "negative": Grid(size, spacing, (-150.0, -320.0, -1400.0)),
        "ras": Grid(size, spacing, (148.0, 118.0, -128.0), (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)),
        "oblique": Grid(size, spacing, (-120.0, -90.0, 40.0), turned),
    }[name]
    mask = lung_mask(grid)
    points = inside_points(mask, count, seed) + np.random.default_rng(seed).normal(0, noise, (count, 3))
    mask.array[: int((1 - kept) * len(mask.array))] = 0
    check_in_mask(points, mask, file=None)


@pytest.mark.slow
def test_check_and_evaluate_refuse_voxels_on_a_scan_at_the_origin(tmp_path: Path) -> None:
    mask = lung_mask(replace(LUNG_GRID, spacing=(1.5, 1.5, 1.5)))
    fixed = inside_points(mask)
    motion = np.array([1.0, -2.0, 6.0])
    voxels = PointPairs(mask.grid.world_to_voxel(fixed), mask.grid.world_to_voxel(fixed + motion))
    right = PointPairs(fixed, fixed + motion)
    field = DisplacementField(np.full((*mask.grid.shape, 3), motion * 0.3, np.float32), mask.grid)
    assert evaluate_tre(right, field=field, mask=mask).tre.mean() == pytest.approx(
        0.7 * np.linalg.norm(motion), rel=1e-4
    )
    for call in (lambda: evaluate_tre(voxels, field=field, mask=mask), lambda: check_landmarks(voxels, mask=mask)):
        with pytest.raises(BadInputError) as caught:
            call()
        assert caught.value.code == "landmark_outside"
    assert check_landmarks(right, mask=mask).figures["outside_mask"] == 0


def breath(points: np.ndarray) -> np.ndarray:
    """Return points of a lung after a breath of up to 30 mm, with an observer's error."""
    depth = np.clip((60 - points[:, 2:]) / 150, 0, 1)
    noise = np.random.default_rng(2).normal(0, 1, points.shape)
    return np.asarray(points + depth * np.array([2.0, -9.0, 28.0]) + noise)


def _one_bad(moving: np.ndarray) -> np.ndarray:
    return np.vstack([moving[:3], moving[3:4] + 90, moving[4:]])


@pytest.mark.parametrize(
    ("count", "order", "refused"),
    [
        (100, lambda m: m, False),
        (100, lambda m: m[::-1], True),
        (100, lambda m: np.roll(m, 1, axis=0), True),
        (100, lambda m: np.vstack([m[:60], np.roll(m[60:], 1, axis=0)]), True),
        (100, lambda m: np.vstack([m[:90], np.roll(m[90:], 1, axis=0)]), False),  # too few to tell
        (100, _one_bad, False),
        (12, lambda m: m, False),
        (12, lambda m: np.roll(m, 1, axis=0), True),
        (5, lambda m: m[::-1], False),
    ],
)
def test_rows_of_both_scans_belong_together(count: int, order: object, refused: bool, tmp_path: Path) -> None:
    """OpenwaterHealth/SlicerOpenLIFU 243: a point was deleted in one list. Silent before: 118 mm were reported."""
    fixed = np.random.default_rng(count).uniform([-120, -80, -110], [120, 80, 110], (count, 3))
    pairs = PointPairs(fixed, order(breath(fixed)))  # type: ignore[operator]
    if not refused:
        check_pairing(pairs.fixed, pairs.moving, file=None)
        return
    for command in (check_landmarks, lambda of: evaluate_tre(of, correspondences=PointPairs(fixed, breath(fixed)))):
        with pytest.raises(BadInputError) as caught:
            command(pairs)
        assert caught.value.code == "unpaired_landmarks"


@pytest.mark.real_data
def test_landmarks_of_patients_are_paired(real_data: Path) -> None:
    files = sorted((real_data / "lung250m").glob("*.csv"))
    assert len(files) == 24
    for path in files:
        pairs = read_point_pairs(path)
        check_pairing(pairs.fixed, pairs.moving, file=path)
        with pytest.raises(BadInputError):
            check_pairing(pairs.fixed, np.roll(pairs.moving, 1, axis=0), file=path)


def test_one_list_given_twice_is_said(tmp_path: Path) -> None:
    fixed = np.random.default_rng(0).uniform(-90, 90, (30, 3))
    write_point_pairs(tmp_path / "l.csv", PointPairs(fixed, fixed))
    write_point_pairs(tmp_path / "c.csv", PointPairs(fixed + 1, breath(fixed + 1)))
    call = ["evaluate", "--landmarks", str(tmp_path / "l.csv"), "--correspondences", str(tmp_path / "c.csv")]
    done = CliRunner().invoke(main, [*call, "--out", str(tmp_path / "o.json")])
    assert (done.exit_code, "both scans have the same positions" in done.stderr) == (0, True), done.output
