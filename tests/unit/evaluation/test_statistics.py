"""Statistics: against sums written out by hand, one value, one case, unequal cases."""

import math

import numpy as np
import pytest

from lcsd.errors import BadInputError
from lcsd.evaluation import statistics
from lcsd.evaluation.significance import compare_methods
from lcsd.evaluation.statistics import bootstrap_mean, cumulative, holm, rank_sum_p, summarise, summarise_cases


def test_summary_is_what_the_definitions_say() -> None:
    summary = summarise(np.array([4.0, 1.0, 3.0, 2.0, 10.0]))
    assert summary.count == 5
    assert summary.mean == 4.0
    # Deviations 0, -3, -1, -2, 6: squares sum to 50, divisor n - 1 = 4.
    assert summary.std == pytest.approx(math.sqrt(12.5))
    assert (summary.p25, summary.median, summary.p75, summary.max) == (2.0, 3.0, 4.0, 10.0)
    # Rank 0.95 * 4 = 3.8 between the fourth (4) and fifth (10) value.
    assert summary.p95 == pytest.approx(4 + 0.8 * 6)


def test_one_value_has_no_spread() -> None:
    summary = summarise(np.array([2.5]))
    assert summary.std is None
    assert summary.count == 1
    assert {summary.mean, summary.p25, summary.p95, summary.max} == {2.5}


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_values_without_statistics_are_refused(values: list[float]) -> None:
    with pytest.raises(BadInputError, match=r"\[bad_values\]"):
        summarise(np.array(values))


def test_figures_carry_the_unit() -> None:
    figures = summarise(np.array([1.0, 2.0])).figures("tre_before", "mm")
    assert figures["tre_before_p95_mm"] == pytest.approx(1.95)
    assert all(key.startswith("tre_before_") and key.endswith("_mm") for key in figures)


def test_case_means_and_pooled_landmarks_differ_for_unequal_cases() -> None:
    cohort = summarise_cases({"b": np.array([4.0]), "a": np.array([1.0, 1.0, 1.0])})
    assert cohort.cases == 2
    assert cohort.of_case_means.mean == pytest.approx(2.5)
    assert cohort.pooled.mean == pytest.approx(1.75)
    assert cohort.pooled.count == 4


def test_one_case_says_n_is_one() -> None:
    cohort = summarise_cases({"a": np.array([1.0, 3.0])})
    assert cohort.cases == cohort.of_case_means.count == 1
    assert cohort.of_case_means.std is None


def test_no_case_is_refused() -> None:
    with pytest.raises(BadInputError):
        summarise_cases({})


def test_cumulative_counts_ties_together() -> None:
    values, percent = cumulative(np.array([3.0, 1.0, 1.0, 2.0]))
    np.testing.assert_array_equal(values, [1, 1, 2, 3])
    np.testing.assert_array_equal(percent, [50, 50, 75, 100])


def test_cumulative_of_nothing_is_empty() -> None:
    values, percent = cumulative(np.array([]))
    assert len(values) == len(percent) == 0


def test_rank_sum_equals_the_definition_and_ties_do_not_differ() -> None:
    first, second = np.array([1.0, 2, 3, 4, 9]), np.array([5.0, 6, 7, 8])
    # U counts the pairs in which the first is larger; 9 beats all four.
    u, n, m = 4.0, 5, 4
    z = (u - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12)
    expected = math.erfc(abs(z) / math.sqrt(2))
    assert rank_sum_p(first, second) == pytest.approx(expected)
    assert rank_sum_p(np.ones(5), np.ones(7)) == 1.0


def test_holm_is_the_step_down_procedure() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06 and 0.04, which is raised.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_holm_claims_what_the_definition_claims() -> None:
    """The definition: go up from the smallest p while p <= level / (tests left)."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        p_values = list(rng.random(7) ** 4)
        for level in (0.01, 0.05, 0.3):
            claimed: set[int] = set()
            for rank, i in enumerate(sorted(range(7), key=lambda k: p_values[k])):
                if p_values[i] > level / (7 - rank):
                    break
                claimed.add(i)
            corrected = holm(p_values)
            assert {i for i in range(7) if corrected[i] <= level} == claimed


def test_bootstrap_interval_is_that_of_all_samples_of_two_cases() -> None:
    # Two cases: the means are a, (a+b)/2, b with chances 1/4, 1/2, 1/4.
    interval = bootstrap_mean(np.array([1.0, 3.0]), confidence=0.95, resamples=2000, seed=0)
    assert interval is not None
    assert (interval.low, interval.high) == (1.0, 3.0)
    inner = bootstrap_mean(np.array([1.0, 3.0]), confidence=0.3, resamples=2000, seed=0)
    assert inner is not None
    assert (inner.low, inner.high) == (2.0, 2.0)


def test_bootstrap_interval_of_many_cases_is_about_that_of_the_normal() -> None:
    values = np.random.default_rng(1).normal(10, 2, size=200)
    interval = bootstrap_mean(values, confidence=0.95, resamples=4000, seed=0)
    assert interval is not None
    half = 1.96 * values.std() / math.sqrt(200)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)


def test_bootstrap_is_deterministic_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(9.0)
    calls = [bootstrap_mean(values, confidence=0.9, resamples=2500, seed=s) for s in (3, 3, 4)]
    assert calls[0] == calls[1] != calls[2]
    drawn: list[int] = []
    quantile = np.quantile

    def counted(means: np.ndarray, *rest: object) -> np.ndarray:
        drawn.append(len(means))
        return quantile(means, *rest)

    monkeypatch.setattr(statistics.np, "quantile", counted)
    bootstrap_mean(values, confidence=0.9, resamples=2500, seed=3)
    assert drawn == [2500]


def test_one_case_has_no_interval() -> None:
    assert bootstrap_mean(np.array([1.0]), confidence=0.95, resamples=100, seed=0) is None


def test_families_are_cases_and_pooled_landmarks() -> None:
    rng = np.random.default_rng(0)
    errors = {case: {m: rng.random(10) + s for m, s in (("a", 0.0), ("b", 0.3), ("c", 0.5))} for case in "xyz"}
    del errors["z"]["c"]
    tests = compare_methods(errors, [("a", "b"), ("a", "c")])
    assert [(t.second, t.case) for t in tests] == [
        ("b", "x"),
        ("b", "y"),
        ("b", "z"),
        ("b", None),
        ("c", "x"),
        ("c", "y"),
        ("c", None),
    ]
    for family in ([t for t in tests if t.case], [t for t in tests if not t.case]):
        assert [t.p_holm for t in family] == pytest.approx(holm([t.p for t in family]))
    pooled = [np.concatenate([errors[c][m] for c in "xy"]) for m in "ac"]
    assert tests[-1].p == pytest.approx(rank_sum_p(*pooled))
    assert tests[-1].second_mean_mm == pytest.approx(pooled[1].mean())
    # One case only is not pooled.
    assert [t.case for t in compare_methods({"x": errors["x"]}, [("a", "b")])] == ["x"]
