"""The table of a comparison: figures by hand, reference, marks, one case."""

import numpy as np
import pytest

from lcsd.errors import BadInputError
from lcsd.evaluation.compare import CASE_COLUMNS, ROW_COLUMNS, UNKNOWN, Table, compare_rows, markdown, pooled_errors
from lcsd.evaluation.runs import Row, common_cases, read_rows
from lcsd.evaluation.runs import Score as ScoreOf
from lcsd.evaluation.statistics import holm, rank_sum_p
from lcsd.settings.compare import CompareSettings
from tests.unit.evaluation.scored_builds import Score

SETTINGS = CompareSettings(resamples=500)


def made(name: str, *cases: list[float], seconds: float | None = None, **figures: object) -> Row:
    scores = {
        f"c{i}": ScoreOf(
            {"tre_mean_mm": 1.0, **figures}, np.zeros((len(tre), 6)), np.array(tre), np.array(tre) + 5.0, seconds, ()
        )
        for i, tre in enumerate(cases)
    }
    return Row(name, "r", name, scores, {})


def compared(*rows: Row, reference: str | None = None) -> Table:
    return compare_rows(rows, list(rows[0].scores), {}, SETTINGS, reference=reference)


def test_figures_are_those_of_the_definitions() -> None:
    table = compared(
        made("a", [1.0, 2.0, 3.0], [6.0], std_log_jacobian=0.1, folding_percent=0.5, seconds=4.0),
        made("b", [2.0, 2.0, 2.0], [2.0]),
    )
    a, b = table.rows
    assert set(a) == set(ROW_COLUMNS)
    assert (a["tre_mean_mm"], a["tre_case_mean_mm"]) == (3.0, 4.0)
    assert a["tre_std_mm"] == pytest.approx(np.std([1, 2, 3, 6], ddof=1))
    assert (a["tre_before_mean_mm"], a["landmarks"], a["cases"]) == (8.0, 4, 2)
    assert (a["std_log_jacobian"], a["seconds"], a["folding_percent"]) == (0.1, 4.0, 0.5)
    assert b["seconds"] is b["std_log_jacobian"] is None
    # TRE30 of Learn2Reg: the case means are 2 and 6.
    assert a["tre_case_p30_mm"] == pytest.approx(np.quantile([2.0, 6.0], 0.3))
    assert a["tre_case_low_mm"] == 2.0
    assert a["tre_case_high_mm"] == 6.0
    assert table.reference == "b"
    assert [set(row) for row in table.cases] == [set(CASE_COLUMNS)] * 4


def test_p_values_are_against_the_reference_and_corrected_for_the_rows() -> None:
    rng = np.random.default_rng(0)
    samples = {name: [list(rng.random(9) + s) for _ in "xy"] for name, s in (("a", 0.0), ("b", 0.4), ("c", 0.2))}
    table = compared(*(made(name, *parts) for name, parts in samples.items()))
    assert table.reference == "a"
    pooled = {name: np.concatenate(parts) for name, parts in samples.items()}
    plain = [rank_sum_p(pooled[name], pooled["a"]) for name in "bc"]
    assert table.rows[0]["rank_sum_p"] is None
    assert [row["rank_sum_p"] for row in table.rows[1:]] == pytest.approx(plain)
    assert [row["rank_sum_p_holm"] for row in table.rows[1:]] == pytest.approx(holm(plain))
    given = compared(*(made(n, *parts) for n, parts in samples.items()), reference="c")
    assert [row["reference"] for row in given.rows] == [False, False, True]


def test_reference_may_be_a_method_of_one_build_only() -> None:
    rows = [Row(name, name[0], name[2:], made("m", [1.0]).scores, {}) for name in ("x/a", "y/a", "y/b")]
    assert compare_rows(rows, ["c0"], {}, SETTINGS, reference="b").reference == "y/b"
    for wanted in ("a", "none"):
        with pytest.raises(BadInputError, match="x/a, y/a, y/b") as caught:
            compare_rows(rows, ["c0"], {}, SETTINGS, reference=wanted)
        assert caught.value.code == "unknown_row"


def test_markdown_has_the_layout_of_the_published_table() -> None:
    table = compared(
        made("a|x", list(np.arange(1.0, 21.0)), [1.0, 2.0], seeded_landmarks=3),
        made("b", list(np.arange(31.0, 51.0)), [1.0, 2.0], seconds=0.531),
    )
    lines = markdown(table, SETTINGS).splitlines()
    assert lines[0] == (
        "| method | c0 | c1 | before | avg ± std | 95 % CI | 25 % | 50 % | 75 % | std(log J) "
        "| J ≤ 0 (%) | time (s) | memory (GiB) | p | p paired | p cases |"
    )
    assert lines[2].startswith("| a\\|x (reference) † | 10.50 | 1.50 | ")
    assert lines[3].startswith("| b | 40.50* | 1.50 | ")
    assert lines[3].endswith(f"| {UNKNOWN} | {UNKNOWN} | 0.53 | {UNKNOWN} | < 0.001 | < 0.001 | 1.000 |")
    # A cell of the first row holds an escaped bar, which is no border.
    assert len({line.replace("\\|", "").count("|") for line in lines[:4]}) == 1
    notes = " ".join(lines[5:])
    for words in (
        "2 cases, 22 landmarks",
        "500 bootstrap samples",
        "against a|x",
        "signed-rank",
        "predicted some of the landmarks",
    ):
        assert words in notes


def test_many_cases_are_left_to_the_csv() -> None:
    table = compared(made("a", *[[1.0]] * 21), made("b", *[[2.0]] * 21))
    assert markdown(table, SETTINGS).startswith("| method | before |")
    assert len(table.cases) == 42


def test_one_case_has_no_interval_and_says_so() -> None:
    table = compared(made("a", [1.0, 2.0]), made("b", [5.0, 6.0]))
    assert table.rows[0]["tre_case_low_mm"] is table.rows[0]["tre_case_std_mm"] is None
    # Its test is not made twice.
    assert table.rows[1]["rank_sum_p"] == table.rows[1]["rank_sum_p_holm"]
    assert "n = 1 case" in markdown(table, SETTINGS)
    alone = compared(made("a", [1.0]))
    assert alone.rows[0]["tre_std_mm"] is None
    assert f"1.00 ± {UNKNOWN}" in markdown(alone, SETTINGS)


def test_dropped_cases_are_said(score: Score) -> None:
    for case in ("a", "b"):
        build = score("r", case, "divroc", 0.0)
    score("r", "a", "corrfield", 2.0)
    rows = read_rows({"r": build})
    table = compare_rows(rows, *common_cases(rows), SETTINGS)
    assert "1 of 2 cases dropped: 1 not scored by corrfield in r." in markdown(table, SETTINGS)


@pytest.mark.parametrize(("second", "said"), [("learn2reg", False), ("dirlab", True), (None, True)])
def test_different_protocols_are_said(second: str | None, said: bool) -> None:
    table = compared(made("a", [1.0], protocol="learn2reg"), made("b", [2.0], protocol=second))
    assert [row["protocol"] for row in table.rows] == ["learn2reg", second or ""]
    assert ("different protocols" in markdown(table, SETTINGS)) is said


@pytest.mark.parametrize(("second", "said"), [(True, False), (False, True), (None, True)])
def test_snapping_of_some_rows_only_is_said(second: bool | None, said: bool) -> None:
    figures = {} if second is None else {"snapped": second}
    table = compared(made("a", [1.0], snapped=True), made("b", [2.0], **figures))
    assert ("cannot be compared" in markdown(table, SETTINGS)) == said


def test_errors_before_are_shown_if_all_rows_started_from_them() -> None:
    same = [made("a", [1.0, 2.0], [3.0]), made("b", [1.0, 2.0], [3.0])]
    errors = pooled_errors(same, ["c0", "c1"], before="before")
    assert list(errors) == ["before", "a", "b"]
    np.testing.assert_array_equal(errors["before"], [6.0, 7.0, 8.0])
    np.testing.assert_array_equal(errors["a"], [1.0, 2.0, 3.0])
    other = [*same, made("c", [1.5, 2.0], [3.0])]
    assert list(pooled_errors(other, ["c0", "c1"], before="before")) == ["a", "b", "c"]
