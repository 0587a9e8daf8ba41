"""Reading builds: rows, common cases, why cases are dropped, and the same landmarks."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lcsd.build import rejections
from lcsd.errors import BadInputError
from lcsd.evaluation.runs import common_cases, name_runs, read_rows, reasons, unlike_starts
from lcsd.geometry import RigidTransform
from lcsd.io.files import write_json, write_table
from lcsd.io.points import PointPairs
from tests.unit.estimate.builds import record
from tests.unit.evaluation.scored_builds import Score, landmarks


def test_rows_are_methods_of_builds_in_a_fixed_order(score: Score) -> None:
    for method in ("zebra", "divroc", "ants", "corrfield"):
        a = score("a", "one", method, 0.0)
    b = score("b", "one", "divroc", 1.0)
    names = [row.name for row in read_rows({"a": a, "b": b})]
    assert names == ["a/corrfield", "a/divroc", "a/ants", "a/zebra", "b/divroc"]
    assert [row.name for row in read_rows({"a": a}, methods=["ants", "divroc"])] == ["divroc", "ants"]


def test_runs_are_named_by_folder_or_by_the_user(tmp_path: Path) -> None:
    strange = tmp_path / "x=y"
    strange.mkdir()
    runs = name_runs([str(tmp_path / "first"), "b=some/where", str(strange)])
    assert runs == {"first": tmp_path / "first", "b": Path("some/where"), "x=y": strange}


def test_two_builds_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="a="):
        name_runs([str(tmp_path / "p" / "results"), str(tmp_path / "q" / "results")])


def test_cases_are_dropped_with_the_first_reason(score: Score) -> None:
    for case in ("a", "b", "c", "d", "e", "f"):
        first = score("first", case, "divroc", 0.0)
    for case in ("a", "b", "c", "e", "f"):
        second = score("second", case, "divroc", 1.0)
    score("second", "g", "divroc", 1.0)
    error = BadInputError("bad", code="bad")
    rejections.reject(second / "cases" / "b" / "rejected.json", stage="x", target=Path("y"), error=error)
    gate = {"name": "share", "of": "pair", "value": 0.5, "passed": False, "flagged": False}
    write_json(second / "cases" / "c" / "gates.json", {"gates": [gate]})
    score("second", "e", "divroc", 1.0, circular=True)
    (second / "cases" / "f" / "evaluation" / "divroc_landmarks.csv").write_text("id,tre_mm\na,1\n")
    common, dropped = common_cases(read_rows({"first": first, "second": second}))
    assert common == ["a"]
    assert dropped == {
        "b": "rejected in second",
        "c": "discarded in second",
        "d": "no such case in second",
        "e": "circular landmarks of divroc in second",
        "f": "broken evaluation of divroc in second (fixed_x, fixed_y, fixed_z, moving_x, moving_y, moving_z, "
        "tre_before_mm: columns are missing)",
        "g": "no such case in first",
    }
    assert reasons({"x": "late", "y": "early", "z": "late"}) == ["2 late", "1 early"]


def test_method_that_lacks_a_case_drops_it(score: Score) -> None:
    for case in ("a", "b"):
        build = score("r", case, "divroc", 0.0)
    score("r", "a", "corrfield", 0.0)
    common, dropped = common_cases(read_rows({"r": build}))
    assert (common, dropped) == (["a"], {"b": "not scored by corrfield in r"})


def test_nothing_in_common_is_said_with_the_reasons(score: Score) -> None:
    first, second = score("first", "a", "divroc", 0.0), score("second", "b", "divroc", 0.0)
    with pytest.raises(BadInputError, match="1 no such case in first; 1 no such") as caught:
        common_cases(read_rows({"first": first, "second": second}))
    assert caught.value.code == "no_common_cases"


def test_builds_without_scored_cases_are_refused(tmp_path: Path, score: Score) -> None:
    with pytest.raises(BadInputError, match=r"\[empty_build\]"):
        read_rows({"a": tmp_path})
    build = score("r", "a", "divroc", 0.0)
    with pytest.raises(BadInputError, match=r"\[empty_build\]"):
        read_rows({"r": build}, methods=["corrfield"])


def different(score: Score, second: PointPairs) -> BadInputError | None:
    first = score("first", "a", "divroc", 0.0, seed=1, count=12)
    other = score("second", "a", "divroc", 0.0, moved=second)
    try:
        common_cases(read_rows({"first": first, "second": other}))
    except BadInputError as error:
        return error
    return None


def test_other_landmarks_are_refused(score: Score) -> None:
    same = landmarks(1, 12)
    assert different(score, same) is None
    shifted = PointPairs(same.fixed + 0.1, same.moving)
    for other in (landmarks(1, 11), landmarks(2, 12), shifted):
        error = different(score, other)
        assert error is not None
        assert error.code == "different_landmarks"
        assert "case a, first/divroc and second/divroc" in error.message
    moved = same.moving.copy()
    moved[3, 1] += 0.5
    assert different(score, PointPairs(same.fixed, moved)) is not None


def test_rigid_steps_of_builds_may_differ(score: Score) -> None:
    same = landmarks(1, 12)
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    centre = same.moving.mean(axis=0)
    turned = (same.moving - centre) @ turn.T + centre + 2.0
    assert different(score, PointPairs(same.fixed, turned)) is None


def turned_about(centre: np.ndarray, degrees: float) -> RigidTransform:
    turn = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    return RigidTransform(turn, centre - turn @ centre)


def test_moving_landmarks_in_another_frame_are_told_by_their_native_distances(score: Score) -> None:
    same = landmarks(1, 12)
    centre = same.fixed.mean(axis=0)
    first, second = turned_about(centre, 4.0), turned_about(centre, -7.0)
    a = score("first", "a", "divroc", 0.0, moved=same, rigid=first)
    b = score("second", "a", "divroc", 0.0, moved=same, rigid=second)
    rows = read_rows({"first": a, "second": b})
    assert common_cases(rows)[0] == ["a"]
    assert unlike_starts(rows, ["a"]) == []
    # RAS for LPS: x and y negated, which changes no distance between landmarks.
    flipped = turned_about(centre, 180.0).apply(same.moving)
    b = score("second", "a", "divroc", 0.0, moved=PointPairs(same.fixed, flipped), rigid=second)
    with pytest.raises(BadInputError, match=r"\[different_landmarks\]") as caught:
        common_cases(read_rows({"first": a, "second": b}))
    assert caught.value.code == "different_landmarks"
    # A row that does not know them does not stand between those that do.
    score("first", "a", "corrfield", 0.0, moved=PointPairs(same.fixed, first.inverse().apply(flipped)))
    with pytest.raises(BadInputError, match=r"\[different_landmarks\]"):
        common_cases(read_rows({"first": a, "second": b}))


def test_errors_before_that_cannot_be_explained_are_named(score: Score) -> None:
    same = landmarks(1, 12)
    rigid = turned_about(same.fixed.mean(axis=0), 10.0)
    moving = rigid.inverse().apply(same.moving)
    a = score("first", "a", "divroc", 0.0, moved=same, rigid=rigid)
    for other, apart in ((same.moving, False), (moving, False), (moving + 300.0, True)):
        b = score("second", "a", "divroc", 0.0, moved=PointPairs(same.fixed, same.moving))
        table = b / "cases" / "a" / "evaluation" / "divroc_landmarks.csv"
        rows = list(csv.DictReader(table.open(newline="")))
        for row, point, start in zip(rows, other, same.fixed, strict=True):
            row |= {f"moving_{axis}": f"{v:.4f}" for axis, v in zip("xyz", point, strict=True)}
            row["tre_before_mm"] = f"{np.linalg.norm(point - start):.4f}"
        write_table(table, tuple(rows[0]), rows)
        found = read_rows({"first": a, "second": b})
        assert common_cases(found)[0] == ["a"]
        doubts = unlike_starts(found, ["a"])
        assert bool(doubts) == bool(unlike_starts(found[::-1], ["a"])) == apart
    assert "case a, first/divroc and second/divroc: errors before differ by up to 5" in doubts[0]


def test_stale_table_is_a_broken_evaluation(score: Score) -> None:
    score("r", "b", "divroc", 0.0)
    build = score("r", "a", "divroc", 0.0, tre_mean_mm=9.0)
    _, dropped = common_cases(read_rows({"r": build}))
    assert list(dropped) == ["a"]
    assert "its mean is 9.0000 mm, but divroc_landmarks.csv" in dropped["a"]
    table = build / "cases" / "b" / "evaluation" / "divroc_landmarks.csv"
    rows = list(csv.DictReader(table.open(newline="")))
    write_table(table, tuple(rows[0]), [row | {"tre_native_mm": "nan"} for row in rows])
    assert "tre_native_mm" in read_rows({"r": build})[0].missing["b"]


def test_methods_that_no_build_has_are_refused(score: Score) -> None:
    first, second = score("a", "x", "divroc", 0.0), score("b", "x", "divroc", 0.0)
    score("b", "x", "vm.v2", 0.0)
    runs = {"a": first, "b": second}
    names = [row.name for row in read_rows(runs, methods=["vm.v2", "divroc"])]
    assert names == ["a/divroc", "b/divroc", "b/vm.v2"]
    with pytest.raises(BadInputError, match="found divorc, vm") as caught:
        read_rows(runs, methods=["divroc", "divorc", "vm"])
    assert caught.value.code == "unknown_method"


def test_seconds_are_of_the_methods_own_command(score: Score) -> None:
    build = score("r", "a", "divroc", 0.0)
    score("r", "a", "ants", 0.0)
    folder = build / "cases" / "a" / "registration"
    record(folder / "registration.provenance.json", "register", wall_s=2.5)
    record(folder / "other.provenance.json", "convert", wall_s=9.0)
    divroc, ants = read_rows({"r": build})
    assert divroc.scores["a"].seconds == 2.5
    assert ants.scores["a"].seconds is None
    record(folder / "again.provenance.json", "register", wall_s=3.5)
    assert read_rows({"r": build})[0].scores["a"].seconds is None
