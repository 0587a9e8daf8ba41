"""Reading a build: states, order, and files that are missing, broken or hostile."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lcsd.build.inventory import Inventory, gates_line
from lcsd.errors import BadInputError
from lcsd.io.files import read_json, write_json
from lcsd.io.tables import as_number
from tests.unit.report.conftest import gate, write_gates, write_manifest, write_rejection

MakeCase = Callable[..., Path]


GOOD_GATE = '{"gates": [{"name": "x", "of": "pair", "value": 0.5, "low": 0.1, "passed": true, "flagged": false}]}'


def test_finished_case_is_read_completely(make_case: MakeCase, results: Path) -> None:
    make_case("a")
    inventory = Inventory(results)
    (case,) = inventory.cases(None)
    assert inventory.problems == []
    assert (case.name, case.status, case.counts) == ("a", "done", True)
    assert [e.method for e in case.evaluations] == ["corrfield", "divroc"]
    assert case.points["fixed", "dense"] == 300
    assert case.points["moving", "keypoints"] == 60
    assert case.correspondences == 40
    assert case.prealign["dice_aligned"] == 0.9
    assert {run.stage for run in case.runs} == {"convert", "prealign", "correspondences", "registration"}
    assert all(run.seconds is not None and run.memory_gib for run in case.runs)


def test_manifest_gives_order_role_and_waiting_cases(make_case: MakeCase, results: Path) -> None:
    make_case("a")
    make_case("of_an_earlier_selection")
    write_rejection(make_case("set_aside"))
    manifest = write_manifest(results.parent / "pairs.tsv", {"b": "train", "a": "test"})
    cases = Inventory(results).cases(manifest)
    assert [(c.name, c.role, c.status) for c in cases] == [
        ("b", "train", "waiting"),
        ("a", "test", "done"),
        ("set_aside", "", "rejected"),
    ]


def test_case_with_expected_landmarks_waits_for_its_evaluation(make_case: MakeCase, results: Path) -> None:
    make_case("a", landmarks=False)
    test_case = write_manifest(results.parent / "pairs.tsv", {"a": "test"})
    assert Inventory(results).cases(test_case)[0].status == "waiting"
    train_case = write_manifest(results.parent / "pairs.tsv", {"a": "train"})
    assert Inventory(results).cases(train_case)[0].status == "done"


def test_a_case_that_no_gate_has_judged_waits(make_case: MakeCase, results: Path) -> None:
    """A build killed before its last job must not count it."""
    (make_case("a") / "gates.json").unlink()
    (case,) = Inventory(results).cases(None)
    assert (case.status, case.counts) == ("waiting", False)


def test_rejection_wins_and_is_read(make_case: MakeCase, results: Path) -> None:
    write_rejection(make_case("a"))
    (case,) = Inventory(results).cases(None)
    assert (case.status, case.counts) == ("rejected", False)
    assert case.rejection is not None
    assert (case.rejection.stage, case.rejection.code) == ("lungs", "empty_mask")
    assert case.rejection.remedy == "look at the scan"


def test_killed_job_leaves_a_waiting_case(make_case: MakeCase, results: Path) -> None:
    folder = make_case("a")
    (folder / "registration" / "field.nii.gz").unlink()
    (folder / "registration" / ".abc.tmp.field.nii.gz").write_bytes(b"half")
    (folder / "evaluation" / ".abc.tmp.divroc.json").write_text("{")
    inventory = Inventory(results)
    (case,) = inventory.cases(None)
    assert case.status == "waiting"
    assert "register" not in case.passed
    assert inventory.problems == []


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("rejected.json", "{not json"),
        ("rejected.json", "[]"),
        ("images/prealign.json", "\x00\xff"),
        ("clouds/fixed_dense.npz", "not a zip"),
        ("correspondences/correspondences.csv", "fixed_x\nno"),
        ("evaluation/divroc.json", '{"tre_mean_mm": "many"}'),
        ("evaluation/divroc_landmarks.csv", "id,tre_mm,tre_before_mm\na,1.0,nan\n"),
        ("evaluation/divroc_landmarks.csv", "id,tre_mm\na,1.0\n"),
        ("registration/field.provenance.json", '{"wall_s": 3}'),
        ("registration/field.provenance.json", '{"stage": "x", "settings": 3}'),
        ("gates.json", "{"),
        ("gates.json", '{"gates": {}}'),
        ("gates.json", '{"gates": ["x"]}'),
        ("gates.json", '{"gates": [{"name": "x"}]}'),
        ("gates.json", GOOD_GATE.replace('"x"', '"<b>"')),
        ("gates.json", GOOD_GATE.replace("0.5", "NaN")),
        ("gates.json", GOOD_GATE.replace("0.1", '"low"')),
        ("gates.json", GOOD_GATE.replace("true", "1")),
        ("gates.json", GOOD_GATE.replace(', "flagged": false', "")),
    ],
)
def test_broken_file_is_named_and_skipped(make_case: MakeCase, results: Path, file: str, content: str) -> None:
    folder = make_case("a")
    (folder / file).write_bytes(content.encode("latin-1"))
    inventory = Inventory(results)
    (case,) = inventory.cases(None)
    assert [problem.file for problem in inventory.problems] == [f"cases/a/{file}"]
    assert case.name == "a"


def test_limits_may_be_absent(make_case: MakeCase, results: Path) -> None:
    (make_case("a") / "gates.json").write_text(GOOD_GATE)
    inventory = Inventory(results)
    (case,) = inventory.cases(None)
    assert inventory.problems == []
    assert (case.gates[0].low, case.gates[0].high) == (0.1, None)


def test_unreadable_rejection_is_still_one(make_case: MakeCase, results: Path) -> None:
    (make_case("a") / "rejected.json").write_text("{")
    (case,) = Inventory(results).cases(None)
    assert case.status == "rejected"
    assert case.left_out == "unreadable_rejection"


def test_folder_that_is_no_case_name_is_a_problem(make_case: MakeCase, results: Path) -> None:
    make_case("a")
    (results / "cases" / "b c").mkdir()
    inventory = Inventory(results)
    assert [case.name for case in inventory.cases(None)] == ["a"]
    assert inventory.problems[0].file == "cases/b c"


def test_missing_or_broken_manifest_falls_back_to_folders(make_case: MakeCase, results: Path) -> None:
    make_case("a")
    for text in (None, "case\tcolour\n"):
        manifest = results.parent / "pairs.tsv"
        if text is not None:
            manifest.write_text(text)
        inventory = Inventory(results)
        assert [case.name for case in inventory.cases(manifest)] == ["a"]
        assert len(inventory.problems) == 1


def test_failed_gate_discards_the_case_and_a_flag_leaves_it_out(make_case: MakeCase, results: Path) -> None:
    write_gates(make_case("a"), gate("share", 0.05), gate("inside", 0.9), gate("ratio", 0.15))
    write_gates(make_case("b"), gate("ratio", 0.15, of="pair"))
    inventory = Inventory(results)
    bad, odd = inventory.cases(None)
    assert inventory.problems == []
    assert (bad.status, bad.counts) == ("discarded", False)
    assert [(g.name, g.of, g.value, g.low) for g in bad.failed_gates] == [("share", "fixed", 0.05, 0.1)]
    assert (odd.status, odd.counts, odd.failed_gates) == ("borderline", False, ())
    assert (bad.left_out, odd.left_out) == ("gate_share", "flagged_ratio")
    assert [(g.of, g.usual_low, g.usual_high) for g in odd.flagged_gates] == [("pair", 0.2, None)]


def test_a_build_may_keep_flagged_cases_but_no_failed_one(make_case: MakeCase, results: Path) -> None:
    write_gates(make_case("a"), gate("share", 0.05), gate("ratio", 0.15))
    write_gates(make_case("b"), gate("ratio", 0.15))
    for name in ("a", "b"):
        path = results / "cases" / name / "gates.json"
        write_json(path, read_json(path) | {"keep_flagged": True})
    bad, odd = Inventory(results).cases(None)
    assert (bad.status, bad.left_out) == ("discarded", "gate_share")
    assert (odd.status, odd.counts, odd.left_out) == ("done", True, None)
    assert [g.name for g in odd.flagged_gates] == ["ratio"]


def test_one_line_counts_and_names_what_gates_leave_out(make_case: MakeCase, results: Path) -> None:
    write_gates(make_case("a"), gate("share", 0.05), gate("inside", 0.04))
    for name in ("b", "c"):
        write_gates(make_case(name), gate("ratio", 0.15))
    write_gates(make_case("d"), gate("share", 0.9))
    cases = Inventory(results).cases(None)
    line = gates_line(cases)
    assert line is not None
    for words in ("1 failed by gates: a (inside, share)", "2 flagged by gates: b (ratio), c (ratio)", "keep_flagged"):
        assert words in line, words
    failed = gates_line(cases[:1])
    assert failed is not None
    assert "keep_flagged" not in failed
    assert gates_line(cases[3:]) is None


def test_discarded_is_said_before_the_case_ends_and_rejected_wins(make_case: MakeCase, results: Path) -> None:
    for name in ("a", "b"):
        folder = make_case(name)
        write_gates(folder, gate("share", 0.05))
        (folder / "registration" / "field.nii.gz").unlink()
    write_rejection(folder)
    assert [c.status for c in Inventory(results).cases(None)] == ["discarded", "rejected"]


def test_missing_landmark_table_is_said(make_case: MakeCase, results: Path) -> None:
    folder = make_case("a")
    (folder / "evaluation" / "divroc_landmarks.csv").unlink()
    inventory = Inventory(results)
    (case,) = inventory.cases(None)
    assert case.evaluations[1].tre is None
    assert inventory.problems[0].file.endswith("divroc_landmarks.csv")


def test_empty_build_has_no_case(results: Path) -> None:
    assert Inventory(results).cases(None) == []


@pytest.mark.parametrize("value", ["1", None, True, [1], float("nan"), float("inf")])
def test_only_finite_numbers_are_numbers(value: object) -> None:
    assert as_number(value) is None


def test_rejection_keys_may_be_anything(make_case: MakeCase, results: Path) -> None:
    folder = make_case("a")
    write_rejection(folder)
    content = read_json(folder / "rejected.json") | {"stage": None, "message": {"a": 1}}
    write_json(folder / "rejected.json", content)
    (case,) = Inventory(results).cases(None)
    assert case.rejection is not None
    assert case.rejection.stage == ""


def test_a_file_is_read_once_by_each_reader_and_a_broken_one_is_named_once(tmp_path: Path) -> None:
    calls: list[str] = []

    def read(path: Path) -> str:
        calls.append(path.name)
        if path.name == "broken":
            raise BadInputError("cannot be read", code="truncated_file", file=path)
        return path.read_text(encoding="utf-8")

    for name in ("whole", "broken"):
        (tmp_path / name).write_text(name)
    inventory = Inventory(tmp_path)
    for _ in range(2):
        assert inventory.once(tmp_path / "whole", read) == "whole"
        assert inventory.once(tmp_path / "broken", read) is None
        assert inventory.once(tmp_path / "absent", read) is None
        assert inventory.once(tmp_path / "whole", lambda path: len(path.name)) == 5
    assert sorted(calls) == ["broken", "whole"]
    assert [problem.file for problem in inventory.problems] == ["broken"]
    # Another inventory, as of the next page, sees a file that was mended.
    (tmp_path / "whole").write_text("new")
    assert Inventory(tmp_path).once(tmp_path / "whole", read) == "new"
