"""Accuracy over a build: which cases count, splits, tests, and sums that can be done by hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lcsd.build.inventory import Case, Evaluation, Inventory, Run
from lcsd.evaluation.accuracy import (
    ALL_CASES,
    SUMMARY_COLUMNS,
    TRE_COLUMNS,
    comparison_rows,
    method_summaries,
    role_summaries,
    summary_rows,
    tre_rows,
)
from lcsd.io.files import read_json, write_json

MakeCase = Callable[..., Path]

EMPTY = Case(name="a", folder=Path("a"), role="test", status="done")


def scored(name: str, tre: list[float], before: list[float], **figures: object) -> Case:
    evaluation = Evaluation("divroc", {"tre_mean_mm": float(np.mean(tre)), **figures}, np.array(tre), np.array(before))
    return replace(EMPTY, name=name, evaluations=(evaluation,))


def test_summary_counts_cases_and_landmarks() -> None:
    cases = [
        scored("a", [1.0], [9.0], folding_percent=0.5),
        scored("b", [3.0, 3.0, 3.0], [11.0, 11.0, 11.0], folding_percent=0.1),
    ]
    (summary,) = method_summaries(cases)
    assert summary.after.cases == 2
    assert summary.after.of_case_means.mean == pytest.approx(2.0)
    assert summary.after.pooled.mean == pytest.approx(2.5)
    assert summary.before.of_case_means.mean == pytest.approx(10.0)
    assert summary.max_folding_percent == 0.5


def test_rejected_discarded_and_circular_cases_do_not_count() -> None:
    good = scored("a", [1.0], [9.0])
    bad = [
        replace(scored("b", [50.0], [9.0]), status="rejected"),
        replace(scored("c", [50.0], [9.0]), status="discarded"),
        scored("d", [0.0], [9.0], circular=True),
        replace(scored("e", [50.0], [9.0]), status="waiting"),
    ]
    (summary,) = method_summaries([good, *bad])
    assert summary.after.cases == 1
    assert summary.after.pooled.mean == 1.0
    assert [row["in_statistics"] for row in tre_rows([good, *bad])] == [True, False, False, False, False]
    assert method_summaries(bad) == []


def test_an_evaluation_without_its_landmarks_is_in_no_statistics() -> None:
    case = scored("a", [1.0], [9.0])
    lost = replace(case, evaluations=(replace(case.evaluations[0], tre=None),))
    assert method_summaries([lost]) == []
    assert [row["in_statistics"] for row in tre_rows([lost])] == [False]


def test_methods_are_compared_per_case_and_pooled() -> None:
    good = np.arange(1.0, 21.0)
    cases = []
    for name, shift in (("a", 0.0), ("b", 30.0)):
        two = tuple(
            Evaluation(method, {"tre_mean_mm": 1.0}, tre, good)
            for method, tre in (("corrfield", good), ("divroc", good + shift))
        )
        cases.append(replace(EMPTY, name=name, evaluations=two))
    rows = {row["case"]: row for row in comparison_rows(cases)}
    assert rows["a"]["rank_sum_p"] == pytest.approx(1.0)
    assert rows["b"]["rank_sum_p"] < 1e-6
    assert rows["b"]["second_mean_mm"] == pytest.approx(40.5)
    assert rows["b"]["rank_sum_p"] < rows[ALL_CASES]["rank_sum_p"] < 0.05
    assert comparison_rows([replace(c, status="rejected") for c in cases]) == []
    assert comparison_rows([scored("a", [1.0], [9.0])]) == []


def test_tre_rows_have_every_figure_and_empty_cells(make_case: MakeCase, results: Path) -> None:
    folder = make_case("a")
    content = read_json(folder / "evaluation" / "divroc.json")
    del content["tre_p95_mm"]
    write_json(folder / "evaluation" / "divroc.json", content)
    first, second = tre_rows(Inventory(results).cases(None))
    assert (first["method"], second["method"]) == ("corrfield", "divroc")
    assert first["tre_p95_mm"] > 0
    assert second["tre_p95_mm"] == ""
    assert first["tre_native_mean_mm"] == ""


def test_summary_rows_have_one_part_per_split_only_where_there_are_several() -> None:
    train = [replace(scored(n, [1.0, 3.0], [9.0, 9.0]), role="train") for n in ("a", "b")]
    one = summary_rows(train)
    assert [(row["role"], row["cases"]) for row in one] == [("all", 2)]
    rows = summary_rows([*train, replace(scored("c", [8.0], [12.0]), role="test")])
    assert [(row["role"], row["cases"]) for row in rows] == [("all", 3), ("train", 2), ("test", 1)]
    assert [row["tre_case_mean_mm"] for row in rows] == pytest.approx([4.0, 2.0, 8.0])
    assert [row["tre_case_p30_mm"] for row in rows] == pytest.approx([2.0, 2.0, 8.0])
    assert [row["landmarks"] for row in rows] == [5, 4, 1]
    before = [(row["tre_before_case_mean_mm"], row["tre_before_mean_mm"]) for row in rows]
    assert before == [pytest.approx(pair) for pair in ((10.0, 9.6), (9.0, 9.0), (12.0, 12.0))]
    assert all(tuple(row) == SUMMARY_COLUMNS for row in rows)
    # One case, one landmark: nothing is known of a spread.
    spread = ("tre_case_std_mm", "tre_case_low_mm", "tre_case_high_mm", "tre_std_mm")
    assert [rows[2][name] for name in spread] == [""] * 4
    assert rows[0]["tre_case_low_mm"] < 4.0 < rows[0]["tre_case_high_mm"]


def test_roles_without_scored_cases_have_no_part() -> None:
    cases = [replace(EMPTY, role="train"), scored("b", [1.0], [2.0])]
    assert list(role_summaries(cases)) == ["test"]


def test_interval_does_not_depend_on_the_order_of_the_cases() -> None:
    values = np.random.default_rng(0).random(7)
    cases = [scored(name, [value], [9.0]) for name, value in zip("abcdefg", values, strict=True)]
    (first,) = method_summaries(cases)
    (second,) = method_summaries(cases[::-1])
    assert first.interval == second.interval
    assert first.interval is not None


def test_seconds_are_those_of_the_methods_own_stage() -> None:
    runs = (Run("register", "", 4.0, 1.0, {}, {}), Run("correspond", "", 7.0, 1.0, {}, {}))
    case = replace(scored("a", [1.0], [9.0]), runs=runs)
    (row,) = tre_rows([case])
    assert tuple(row) == TRE_COLUMNS
    assert row["seconds"] == 4.0
    assert method_summaries([case])[0].mean_seconds == 4.0
    other = replace(case.evaluations[0], method="elastix")
    assert tre_rows([replace(case, evaluations=(other,))])[0]["seconds"] == ""
    # Two runs of one stage: nobody knows which one was scored.
    assert tre_rows([replace(case, runs=runs * 2)])[0]["seconds"] == ""


def test_seeded_landmarks_are_summed() -> None:
    cases = [scored("a", [1.0, 1.0], [2.0, 2.0], seeded_landmarks=2), scored("b", [1.0], [2.0], seeded_landmarks=None)]
    assert method_summaries(cases)[0].seeded == 2
    assert [row["seeded_landmarks"] for row in tre_rows(cases)] == [2, ""]


def test_p_values_are_corrected_within_cases_and_within_pooled() -> None:
    rng = np.random.default_rng(0)
    cases = []
    for name in "ab":
        evaluations = tuple(
            Evaluation(method, {"tre_mean_mm": 1.0}, rng.random(12) + shift, np.ones(12))
            for method, shift in (("one", 0.0), ("two", 0.3), ("three", 0.1))
        )
        cases.append(replace(EMPTY, name=name, evaluations=evaluations))
    rows = comparison_rows(cases)
    for pooled, tests in ((False, 6), (True, 3)):
        family = [row for row in rows if (row["case"] == ALL_CASES) == pooled]
        assert len(family) == tests
        smallest = min(family, key=lambda row: row["rank_sum_p"])
        assert smallest["rank_sum_p_holm"] == pytest.approx(tests * smallest["rank_sum_p"])
