"""Statistics: against sums written out by hand, one value, one case, unequal cases."""

import math

import numpy as np
import pytest

from lcsd.errors import BadInputError
from lcsd.evaluation.statistics import cumulative, rank_sum_p, summarise, summarise_cases


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
    with pytest.raises(BadInputError, match="finite"):
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
