"""Landmark files of every format: numbers written out by hand, round trips, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.points import PointPairs
from lcsd.landmarks.formats import Given, Grids, format_of, read_landmarks, write_landmarks
from tests.grids import GRIDS

PAIR_HEADER = "fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z"
PER_SCAN = {"fcsv": ".fcsv", "dirlab": ".txt", "learn2reg": ".csv", "slicer": ".mrk.json", "generic": ".dat"}


def pairs_in(grid: Grid, count: int = 7) -> PointPairs:
    rng = np.random.default_rng(1)
    last = np.asarray(grid.size) - 1.0
    return PointPairs(
        grid.voxel_to_world(rng.uniform(0, last, (count, 3))),
        grid.voxel_to_world(rng.uniform(0, last, (count, 3))),
        ids=tuple(f"p{n}" for n in range(count)),
    )


def expect(code: str, files: list[Path], format_name: str, **more: object) -> str:
    with pytest.raises(BadInputError) as caught:
        read_landmarks(files, format_name, **more)  # type: ignore[arg-type]
    assert caught.value.code == code, caught.value.message
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("form", PER_SCAN)
def test_two_files_round_trip(tmp_path: Path, name: str, form: str) -> None:
    # Another grid for the follow-up: its voxels must not be taken for the baseline's.
    grids = Grids(GRIDS[name], GRIDS["oblique" if name != "oblique" else "ras"])
    pairs = PointPairs(pairs_in(grids.fixed).fixed, pairs_in(grids.moving).moving, tuple("abcdefg"))  # type: ignore[arg-type]
    files = [tmp_path / f"{scan}{PER_SCAN[form]}" for scan in ("f", "m")]
    write_landmarks(files, form, pairs, grids=grids)  # type: ignore[arg-type]
    back = read_landmarks(files, form, grids=grids).pairs  # type: ignore[arg-type]
    np.testing.assert_allclose(back.fixed, pairs.fixed, atol=3e-4)
    np.testing.assert_allclose(back.moving, pairs.moving, atol=3e-4)
    assert back.ids == (pairs.ids if form in {"fcsv", "slicer"} else None)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("frame", ["lps", "ras", "voxel"])
@pytest.mark.parametrize("axes", ["xyz", "zyx"])
def test_one_table_of_both_scans_round_trips(tmp_path: Path, name: str, frame: str, axes: str) -> None:
    grids, file = Grids(GRIDS[name], GRIDS["anisotropic"]), tmp_path / "p.txt"
    given = Given(frame, 1 if frame == "voxel" else None, axes)  # type: ignore[arg-type]
    pairs = pairs_in(GRIDS["lps"])
    write_landmarks([file], "generic", pairs, grids=grids, given=given)
    if frame == "lps":
        # The columns have names, which say their order.
        assert "unused_option" in expect("unused_option", [file], "generic", given=given)
        given = Given(frame)
    back = read_landmarks([file], "generic", grids=grids, given=given).pairs
    np.testing.assert_allclose(back.fixed, pairs.fixed, atol=3e-4)
    np.testing.assert_allclose(back.moving, pairs.moving, atol=3e-4)


def test_numbers_mean_what_each_format_says(tmp_path: Path) -> None:
    grid = Grid((10, 20, 30), (0.5, 1.0, 2.0), (-100.0, -50.0, 7.0))
    grids = Grids(grid, grid)
    for form, text, expected in (
        ("dirlab", "1\t1\t1\n3 4  5\n", [[-100, -50, 7], [-99, -47, 15]]),
        ("learn2reg", "0,0,0\n2,3.5,4\n", [[-100, -50, 7], [-99, -46.5, 15]]),
    ):
        for name in ("f", "m"):
            (tmp_path / name).write_text(text)
        back = read_landmarks([tmp_path / "f", tmp_path / "m"], form, grids=grids).pairs  # type: ignore[arg-type]
        np.testing.assert_allclose(back.fixed, expected)
    table = tmp_path / "l.csv"
    table.write_text(f"{PAIR_HEADER}\n2,3,4,0,0,1\n")
    back = read_landmarks([table], "lung250m", grids=grids).pairs
    np.testing.assert_allclose(back.fixed, [[-99, -47, 15]])
    np.testing.assert_allclose(back.moving, [[-100, -50, 9]])
    # Three numbers in the order z, y, x, counted from 1.
    (tmp_path / "z").write_text("# a comment\n5 4 3\n")
    given = Given("voxel", 1, "zyx")
    back = read_landmarks([tmp_path / "z", tmp_path / "z"], "generic", grids=grids, given=given)
    np.testing.assert_allclose(back.pairs.fixed, [[-99, -47, 15]])
    assert "--fixed-image" in expect("missing_grid", [tmp_path / "z", tmp_path / "z"], "dirlab")


def test_names_of_columns_say_their_order_and_never_a_wrong_frame(tmp_path: Path) -> None:
    pairs = PointPairs(np.array([[1.0, 2, 3]]), np.array([[4.0, 5, 6]]))
    file, other = tmp_path / "a", tmp_path / "b"
    write_landmarks([file], "generic", pairs, given=Given(axes="zyx"))
    assert file.read_text().splitlines() == [
        "fixed_z,fixed_y,fixed_x,moving_z,moving_y,moving_x",
        "3.0000,2.0000,1.0000,6.0000,5.0000,4.0000",
    ]
    np.testing.assert_allclose(read_landmarks([file], "generic").pairs.moving, [[4, 5, 6]])
    write_landmarks([file], "generic", pairs, given=Given("ras"))
    assert file.read_text() == "-1.0000,-2.0000,3.0000,-4.0000,-5.0000,6.0000\n"
    write_landmarks([file, other], "generic", pairs, given=Given(axes="zyx"))
    assert other.read_text() == "z,y,x\n6.0000,5.0000,4.0000\n"
    back = read_landmarks([file, other], "generic").pairs
    np.testing.assert_allclose(back.fixed, [[1, 2, 3]])
    expect("unused_option", [file, other], "generic", given=Given(axes="zyx"))
    expect("unused_option", [file, other], "generic", given=Given("lps", 1))


def markup(points: list[dict[str, object]], **more: object) -> dict[str, object]:
    return {"type": "Fiducial", "controlPoints": points, **more}


def write_markup(path: Path, *markups: dict[str, object]) -> Path:
    path.write_text(json.dumps({"@schema": "x", "markups": list(markups)}), encoding="utf-8")
    return path


def test_slicer_frames_units_and_statuses(tmp_path: Path) -> None:
    fixed = markup(
        [
            {"id": "1", "label": "b", "position": [1, 2, 3], "description": "Reviewed"},
            {"id": "2", "label": "a", "position": [4, 5, 6], "positionStatus": "defined"},
            {"id": "3", "label": "c", "positionStatus": "undefined"},
        ],
        coordinateSystem="RAS",
    )
    moving = markup(
        [
            {"id": "9", "label": "a", "position": [4000, 0, 6]},
            {"id": "8", "label": "b", "position": [1000, 0, 3]},
            {"id": "7", "label": "c", "position": [1, 2, 3]},
        ],
        coordinateSystem="LPS",
        coordinateUnits=["um", "UCUM", "micrometer"],
    )
    read = read_landmarks([write_markup(tmp_path / "p.mrk.json", fixed, moving)], "slicer")
    assert read.pairs.ids == ("b", "a")
    np.testing.assert_allclose(read.pairs.fixed, [[-1, -2, 3], [-4, -5, 6]])
    np.testing.assert_allclose(read.pairs.moving, [[1, 0, 0.003], [4, 0, 0.006]])
    assert read.unset == ("c",)
    assert read.notes == ("Reviewed", "")


def test_slicer_labels_made_from_the_lists_names_pair_by_number(tmp_path: Path) -> None:
    def points(name: str, numbers: list[int]) -> dict[str, object]:
        return markup([{"label": f"{name}-{n}", "position": [n, 0, 0]} for n in numbers], name=name)

    both = write_markup(tmp_path / "p.mrk.json", points("F", [1, 2]), points("M", [2, 1]))
    read = read_landmarks([both], "slicer")
    np.testing.assert_allclose(read.pairs.fixed, read.pairs.moving)
    other = write_markup(tmp_path / "q.mrk.json", points("F", [1, 2]), points("M", [2, 3]))
    message = expect("unpaired_ids", [other], "slicer")
    assert "only in the fixed: 1" in message
    assert "only in the moving: 3" in message
    assert len(read_landmarks([other], "slicer", by="row").pairs) == 2


def test_no_landmark_is_lost_by_its_label(tmp_path: Path) -> None:
    bad, good = tmp_path / "bad", tmp_path / "good"
    bad.write_text("x,y,z,label\n1,2,3,\n4,5,6,\n7,8,9,a\n")
    assert "--pair-by row" in expect("missing_id", [bad, bad], "generic")
    assert len(read_landmarks([bad, bad], "generic", by="row").pairs) == 3
    twice = [{"label": f"F{sign}1", "position": [1, 2, 3]} for sign in "-_"]
    write_markup(bad, markup(twice, name="F"))
    write_markup(good, markup([{"label": "M-1", "position": [1, 2, 3]}], name="M"))
    expect("duplicate_id", [bad, good], "slicer")
    # With another list's labels they are just labels.
    assert len(read_landmarks([bad, write_markup(good, markup(twice))], "slicer").pairs) == 2


def test_the_fixed_grid_is_that_of_a_moving_list_without_its_own(tmp_path: Path) -> None:
    grid = Grid((10, 20, 30), (0.5, 1.0, 2.0), (-100.0, -50.0, 7.0))
    (tmp_path / "v").write_text("1 2 3\n")
    back = read_landmarks([tmp_path / "v"] * 2, "dirlab", grids=Grids(grid)).pairs
    np.testing.assert_allclose(back.moving, [[-100, -49, 11]])


def test_notes_of_several_lines_survive_fcsv(tmp_path: Path) -> None:
    point = {"label": "a", "position": [1, 2, 3], "description": "left\nupper\u2028lobe"}
    both = write_markup(tmp_path / "p.mrk.json", markup([point]), markup([point]))
    read = read_landmarks([both], "slicer")
    files = [tmp_path / "f.fcsv", tmp_path / "m.fcsv"]
    write_landmarks(files, "fcsv", read.pairs, notes=read.notes)
    assert "left upper lobe" in read_landmarks(files, "fcsv").notes[0]


@pytest.mark.parametrize(("system", "sign"), [("LPS", 1), ("RAS", -1), ("1", 1), ("0", -1)])
def test_fcsv_headers_of_all_ages(tmp_path: Path, system: str, sign: int) -> None:
    text = (
        "# Markups fiducial file version = 4.10\n"
        f"# CoordinateSystem = {system}\n"
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
        'vtkMRMLMarkupsFiducialNode_0,1,2,3,0,0,0,1,1,1,0,F-1,"left, upper",\n'
        "vtkMRMLMarkupsFiducialNode_1,4,5,6,0,0,0,1,1,1,0,F-2,,,2,0\n"
        "vtkMRMLMarkupsFiducialNode_2,7,8,9,0,0,0,1,1,1,0,F-3,,,0,0\n"
    )
    (tmp_path / "a.fcsv").write_text(text)
    read = read_landmarks([tmp_path / "a.fcsv", tmp_path / "a.fcsv"], "fcsv")
    np.testing.assert_allclose(read.pairs.fixed, [[sign, 2 * sign, 3], [4 * sign, 5 * sign, 6]])
    assert read.pairs.ids == ("F-1", "F-2")
    assert read.unset == ("F-3",)
    assert "left, upper" in read.notes[0]


def test_broken_files_are_named_by_code(tmp_path: Path) -> None:
    bad, good = tmp_path / "bad", tmp_path / "good"
    good.write_text("1 1 1\n2 2 2\n")
    for text, code in (
        ("1 1 1\n2 nan 2\n", "bad_number"),
        ("1 1 1\n2 x 2\n", "bad_number"),
        ("1 1\n", "missing_column"),
        ("x,y\n1,2\n", "missing_column"),
        ("1 1 1\n", "unequal_counts"),
        ("1 1 1 1 1 1\n", "too_many_files"),
    ):
        bad.write_text(text)
        expect(code, [good, bad], "generic")
    bad.write_text("id,x,y,z\n1,0,0,0\n1,1,1,1\n")
    expect("duplicate_id", [bad, bad], "generic")
    expect("missing_list", [good], "generic")


def test_broken_slicer_files_are_named_by_code(tmp_path: Path) -> None:
    path = tmp_path / "a.mrk.json"
    point = {"label": "a", "position": [1, 2, 3]}
    for content, code in (
        ("{", "bad_json"),
        ("{}", "broken_landmarks"),
        (json.dumps({"markups": [3]}), "broken_landmarks"),
        (json.dumps({"markups": [markup([point], coordinateSystem="IJK")]}), "broken_landmarks"),
        (json.dumps({"markups": [markup([point], coordinateUnits="m")]}), "broken_landmarks"),
        (json.dumps({"markups": [markup([{"position": [1, 2]}])]}), "bad_number"),
        ('{"markups": [{"controlPoints": [{"position": [1, 2, NaN]}]}]}', "bad_json"),
        (json.dumps({"markups": [markup([point, point])]}), "duplicate_id"),
        (json.dumps({"markups": [markup([point | {"label": "a\nb"}])]}), "bad_id"),
        (json.dumps({"markups": [markup([point], coordinateUnits={})]}), "broken_landmarks"),
        (json.dumps({"markups": [markup([point], coordinateUnits=[["mm"]])]}), "broken_landmarks"),
        (json.dumps({"markups": [markup([point], coordinateSystem=["LPS"])]}), "broken_landmarks"),
        (json.dumps({"markups": [markup([{"position": [10**400, 2, 3]}])]}), "bad_number"),
        (json.dumps({"markups": [markup([{"position": [True, 2, 3]}])]}), "bad_number"),
        (json.dumps({"markups": [markup([])]}), "empty_table"),
        ('{"markups": ' + "[" * 100_000 + "]" * 100_000 + "}", "bad_json"),
        (json.dumps({"markups": [markup([point])] * 2}), "several_lists"),
    ):
        path.write_text(content)
        expect(code, [path, path], "slicer")
    write_markup(path, markup([point]))
    expect("missing_list", [path], "slicer")
    path.write_text("0,1,2,3,0,0,0,1,1,1,0,a,,\n")
    expect("missing_frame", [path, path], "fcsv")
    path.write_text("# CoordinateSystem = LPS\n# columns = id,x,y\n0,1,2\n")
    expect("missing_column", [path, path], "fcsv")
    path.write_text("# CoordinateSystem = LPS\n0,1,,3,0,0,0,1,1,1,0,a,,\n")
    expect("bad_number", [path, path], "fcsv")
    path.write_text('# CoordinateSystem = LPS\n0,1,2,3,0,0,0,1,1,1,0,a,"see,\n0,1,2,3,0,0,0,1,1,1,0,b,,\n')
    expect("bad_table", [path, path], "fcsv")


def test_format_by_ending(tmp_path: Path) -> None:
    assert format_of(Path("a.mrk.json"), reading=True) == "slicer"
    assert format_of(Path("a.FCSV"), reading=False) == "fcsv"
    assert format_of(Path("a.csv"), reading=False) == "lcsd"
    (tmp_path / "a.csv").write_text(PAIR_HEADER + "\n")
    assert format_of(tmp_path / "a.csv", reading=True) == "lcsd"
    (tmp_path / "b.csv").write_text("1,2,3\n")
    for path, reading in ((tmp_path / "b.csv", True), (Path("a.txt"), False)):
        with pytest.raises(BadInputError, match="unknown_format"):
            format_of(path, reading=reading)


def test_wrong_number_of_outputs_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    pairs = pairs_in(GRIDS["lps"])
    for form, files, code in (
        ("fcsv", ["a"], "missing_output"),
        ("dirlab", ["a"], "missing_output"),
        ("lcsd", ["a", "b"], "too_many_files"),
        ("lung250m", ["a", "b"], "too_many_files"),
    ):
        with pytest.raises(BadInputError) as caught:
            write_landmarks([tmp_path / name for name in files], form, pairs)  # type: ignore[arg-type]
        assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_both_lists_in_one_slicer_file(tmp_path: Path) -> None:
    pairs, path = pairs_in(GRIDS["ras"]), tmp_path / "p.mrk.json"
    write_landmarks([path], "slicer", pairs)
    content = json.loads(path.read_text())
    assert [m["name"] for m in content["markups"]] == ["fixed", "moving"]
    assert {m["coordinateSystem"] for m in content["markups"]} == {"LPS"}
    back = read_landmarks([path], "slicer").pairs
    np.testing.assert_allclose(back.moving, pairs.moving, atol=1e-6)
    first = path.read_bytes()
    write_landmarks([path], "slicer", pairs)
    assert path.read_bytes() == first
