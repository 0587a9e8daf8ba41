"""``lcsd select RESULTS --candidates``: ranks, ties, failures, missing and excluded cases."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from lcsd.build.published_names import published_names
from tests.unit.selection.made_up import broken, one_lung_lost, read, select, write_candidates, write_screening

DICE = {"b": 0.8, "a": 0.8, "c": 0.7, "d": 0.95, "e": 0.65}
REST = "\t1\ttrain\tT0\tT1\t1.2.3.4\t1.2.3.5\t\t"
TABLES = ("pairs.tsv", "selection.tsv", "names.tsv")


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """Five good training cases, one failed mask with the lowest Dice, two of the test pool."""
    results = tmp_path / "r"
    roles = dict.fromkeys([*DICE, "f"], "train") | {"t": "test_pool", "u": "test_pool", "n": ""}
    write_candidates(results, roles)
    for case, dice in DICE.items():
        write_screening(results, case, dice)
    one_lung_lost(results, "f")
    write_screening(results, "t", 0.99)
    broken(results, "u", "truncated_file")
    return results


def chosen(results: Path) -> dict[str, str]:
    return {row["case"]: row["role"] for row in read(results / "cohort" / "pairs.tsv")}


def test_lowest_dice_first_ties_by_case_failures_never(build: Path) -> None:
    result = select(build, "--candidates", build / "cohort/candidates.tsv", "--set", "count=3")
    assert result.exit_code == 0, result.output
    assert "warning" not in result.stderr
    rows = {row["case"]: row for row in read(build / "cohort" / "selection.tsv")}
    assert list(rows) == sorted([*DICE, "f", "t", "u"])
    assert {case: row["rank"] for case, row in rows.items()} == {
        "e": "1",
        "c": "2",
        "a": "3",
        "b": "4",
        "d": "5",
        "f": "",
        "t": "",
        "u": "",
    }
    assert chosen(build) == {"a": "train", "c": "train", "e": "train", "t": "test_pool"}
    assert {case for case, row in rows.items() if row["selected"] == "yes"} == set(chosen(build))
    assert (rows["f"]["verdict"], rows["f"]["code"], rows["f"]["dice"]) == ("discarded", "gate_lungs", "0.7")
    assert (rows["u"]["code"], rows["u"]["dice"]) == ("truncated_file", "")
    (pair,) = [row for row in read(build / "cohort" / "pairs.tsv") if row["case"] == "c"]
    assert pair == {
        "case": "c",
        "patient_id": "102",
        "role": "train",
        "fixed_source": "1.2.2.0",
        "moving_source": "1.2.2.1",
        "fixed_time": "T0",
        "moving_time": "T1",
        "fixed_mask": "",
        "moving_mask": "",
    }


def test_cases_keep_the_published_masks_of_their_screening(build: Path) -> None:
    path = build / "cohort" / "candidates.tsv"
    call = ["--candidates", path, "--set", "screen.masks=published", "--set", "count=1"]
    assert select(build, *call).exit_code == 0
    pairs = {row["case"]: row for row in read(build / "cohort" / "pairs.tsv")}
    assert pairs["e"]["moving_mask"] == "1.2.4.2"


def test_limits_are_those_of_the_selection_not_of_the_screening(build: Path) -> None:
    path = build / "cohort" / "candidates.tsv"
    limits = ["--set", "screen.min_lungs=1", "--set", "screen.min_dice=0.69"]
    assert select(build, "--candidates", path, *limits, "--set", "count=1").exit_code == 0
    rows = {row["case"]: row for row in read(build / "cohort" / "selection.tsv")}
    assert (rows["f"]["verdict"], rows["f"]["code"]) == ("accepted", "")
    assert (rows["e"]["verdict"], rows["e"]["code"]) == ("discarded", "gate_dice")
    assert (rows["u"]["verdict"], rows["u"]["code"]) == ("rejected", "truncated_file")
    assert rows["c"]["rank"] == "1"


def test_patients_stay_in_the_manifest(build: Path) -> None:
    select(build, "--candidates", build / "cohort/candidates.tsv")
    for name in ("selection.tsv", "names.tsv"):
        with (build / "cohort" / name).open() as handle:
            assert "patient_id" not in next(csv.reader(handle, delimiter="\t"))


def test_fewer_than_asked_is_a_warning(build: Path) -> None:
    result = select(build, "--candidates", build / "cohort/candidates.tsv", "--json")
    assert result.exit_code == 0
    assert "5 of 550" in result.stderr
    printed = json.loads(result.stdout)
    assert (printed["screened"], printed["accepted"]) == (8, 6)
    assert (printed["train"], printed["test_pool"]) == (5, 1)


def test_order_of_candidates_does_not_matter(build: Path) -> None:
    path = build / "cohort" / "candidates.tsv"
    assert select(build, "--candidates", path, "--set", "count=3").exit_code == 0
    first = {name: (build / "cohort" / name).read_bytes() for name in TABLES}
    header, *lines = path.read_text().splitlines()
    lines = [lines[i] for i in np.random.default_rng(1).permutation(len(lines))]
    path.write_text("\n".join([header, *lines]) + "\n")
    (build / "cohort" / "names.tsv").unlink()
    select(build, "--candidates", path, "--set", "count=3", "--threads", 1)
    assert {name: (build / "cohort" / name).read_bytes() for name in TABLES} == first


def test_names_are_drawn_and_stay(build: Path) -> None:
    path = build / "cohort" / "candidates.tsv"
    names = []
    for more in (["count=2"], ["count=5"], ["count=1", "exclude=[c]"]):
        settings = [part for text in more for part in ("--set", text)]
        select(build, "--candidates", path, *settings)
        table = read(build / "cohort" / "names.tsv")
        assert [row["case"] for row in table] == sorted(row["case"] for row in table)
        names.append({row["case"]: row["name"] for row in table})
    first, second, third = names
    assert set(first) == {"c", "e", "t"}
    assert sorted(first.values()) == ["lcsd_0001", "lcsd_0002", "lcsd_0003"]
    assert second.items() > first.items()
    assert sorted(second.values())[-1] == "lcsd_0006"
    assert third == second  # a name is never given again


def test_names_are_in_the_order_of_neither_case_nor_motion() -> None:
    cases = [f"c{number:03d}" for number in range(200)]
    drawn = []
    for seed in (0, 1):
        names = [str(row["name"]) for row in published_names(Path("absent"), cases, seed=seed)]
        assert sorted(names) == [f"lcsd_{number:04d}" for number in range(1, 201)]
        numbers = [int(name[-4:]) for name in names]
        assert abs(np.corrcoef(numbers, np.arange(200))[0, 1]) < 0.25
        drawn.append(names)
    assert drawn[0] != drawn[1]
    backwards = published_names(Path("absent"), cases[::-1], seed=1)
    assert [row["name"] for row in backwards] == drawn[1]


@pytest.mark.parametrize(
    ("table", "code"),
    [
        ("case\tname\na\tb\n", "bad_name"),
        ("case\nx\n", "missing_column"),
        ("case\tname\na\tlcsd_0001\nc\tlcsd_0001\n", "bad_name"),
    ],
)
def test_broken_names_are_not_overwritten(table: str, code: str, build: Path) -> None:
    (build / "cohort" / "names.tsv").write_text(table)
    result = select(build, "--candidates", build / "cohort/candidates.tsv")
    assert result.exit_code == 2
    assert f"[{code}]" in result.stderr
    assert (build / "cohort" / "names.tsv").read_text() == table
    assert not (build / "cohort" / "pairs.tsv").exists()


def test_missing_screening_is_an_error_until_it_is_excluded(build: Path) -> None:
    path = build / "cohort" / "candidates.tsv"
    for case in "eb":
        (build / "cohort" / "screening" / f"{case}.json").unlink()
    result = select(build, "--candidates", path)
    assert result.exit_code == 2
    assert "b.json" in result.stderr
    assert "[missing_screening]" in result.stderr
    assert not (build / "cohort" / "pairs.tsv").exists()
    assert select(build, "--candidates", path, "--set", "exclude=[b, e]").exit_code == 0
    assert set(chosen(build)) == {"a", "c", "d", "t"}
    rows = {row["case"] for row in read(build / "cohort" / "selection.tsv")}
    assert not rows & {"b", "e"}
    result = select(build, "--candidates", path, "--set", "exclude=[b, e, zz]")
    assert "[unknown_case]" in result.stderr
    assert "zz" in result.stderr


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ('{"verdict": "perhaps"}', "bad_screening"),
        ('{"verdict": "accepted", "dice": null}', "bad_screening"),
        ('{"dice": 0.9}', "bad_screening"),
        ("[1]", "bad_json"),
    ],
)
def test_broken_screening_is_named(content: str, code: str, build: Path) -> None:
    (build / "cohort" / "screening" / "c.json").write_text(content)
    result = select(build, "--candidates", build / "cohort/candidates.tsv")
    assert result.exit_code == 2
    assert "c.json" in result.stderr
    assert f"[{code}]" in result.stderr


@pytest.mark.parametrize(
    ("table", "code"),
    [
        ("case\tpatient_id\n", "missing_column"),
        ("HEADER\n", "empty_table"),
        ("HEADER\na\t1\ttrain\n", "bad_row"),
        ("HEADER\naREST\nAREST\n", "bad_case"),
        ("HEADER\n../aREST\n", "bad_case"),
        ('HEADER\n"aREST\n', "bad_table"),
    ],
)
def test_broken_candidates_are_refused(table: str, code: str, build: Path) -> None:
    path = build / "cohort" / "candidates.tsv"
    header = path.read_text().splitlines()[0]
    path.write_text(table.replace("HEADER", header).replace("REST", REST))
    result = select(build, "--candidates", path)
    assert result.exit_code == 2
    assert f"[{code}]" in result.stderr


def test_nobody_accepted_and_bad_calls(build: Path) -> None:
    path = build / "cohort" / "candidates.tsv"
    for case in [*DICE, "t"]:
        write_screening(build, case, 0.5)
    assert "[nobody_accepted]" in select(build, "--candidates", path).stderr
    assert "[bad_option]" in select(build).stderr
    assert "[bad_option]" in select(build, "--candidates", path, "--test").stderr
    assert "[missing_file]" in select(build, "--candidates", build / "no.tsv").stderr
    assert not (build / "cohort" / "pairs.tsv").exists()
