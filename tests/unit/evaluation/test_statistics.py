"""Statistics: against sums written out by hand, one value, one case, unequal cases."""

import itertools
import math

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from lcsd.errors import BadInputError
from lcsd.evaluation.significance import compare_methods
from lcsd.evaluation.statistics import (
    bootstrap_mean,
    cumulative,
    holm,
    rank_sum_p,
    signed_rank_p,
    summarise,
    summarise_cases,
)


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


def bca_by_definition(values: np.ndarray, confidence: float, means: np.ndarray) -> list[float]:
    """Efron's BCa interval of the mean, from the means of all resamples."""
    share = (np.mean(means < values.mean()) + np.mean(means <= values.mean())) / 2
    bias = ndtri(share)
    left_out = np.array([np.delete(values, i).mean() for i in range(len(values))])
    apart = left_out.mean() - left_out
    acceleration = (apart**3).sum() / (6 * (apart**2).sum() ** 1.5)
    levels = []
    for level in ((1 - confidence) / 2, (1 + confidence) / 2):
        z = bias + ndtri(level)
        levels.append(float(ndtr(bias + z / (1 - acceleration * z))))
    return [float(value) for value in np.quantile(means, levels)]


def test_bootstrap_interval_is_bias_corrected_and_accelerated() -> None:
    """All 5^5 resamples of five skewed cases instead of random ones."""
    values = np.array([1.0, 1.2, 1.5, 2.1, 6.0])
    every = np.array([values[list(rows)].mean() for rows in itertools.product(range(5), repeat=5)])
    expected = bca_by_definition(values, 0.9, every)
    interval = bootstrap_mean(values, confidence=0.9, resamples=200_000, seed=0)
    assert interval is not None
    assert [interval.low, interval.high] == pytest.approx(expected, abs=0.05)
    plain = np.quantile(every, [0.05, 0.95])
    assert interval.high - plain[1] > 0.2  # a skewed sample tells it from the percentile interval


def test_bootstrap_interval_of_two_cases_and_of_equal_ones() -> None:
    interval = bootstrap_mean(np.array([1.0, 3.0]), confidence=0.95, resamples=2000, seed=0)
    assert interval is not None
    assert (interval.low, interval.high) == (1.0, 3.0)
    same = bootstrap_mean(np.array([2.0, 2.0, 2.0]), confidence=0.95, resamples=100, seed=0)
    assert same is not None
    assert (same.low, same.high) == (2.0, 2.0)


def test_bootstrap_interval_of_many_cases_is_about_that_of_the_normal() -> None:
    values = np.random.default_rng(1).normal(10, 2, size=200)
    interval = bootstrap_mean(values, confidence=0.95, resamples=4000, seed=0)
    assert interval is not None
    half = 1.96 * values.std() / math.sqrt(200)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)


def test_bootstrap_is_deterministic() -> None:
    values = np.arange(9.0)
    calls = [bootstrap_mean(values, confidence=0.9, resamples=2500, seed=s) for s in (3, 3, 4)]
    assert calls[0] == calls[1] != calls[2]


def test_signed_rank_equals_the_definition() -> None:
    """Exact: the share of all signs of the ranks whose smaller sum is at most the observed one."""
    first, second = np.array([1.0, 2.0, 3.5, 4.0, 9.0, 2.5]), np.array([1.3, 2.1, 3.0, 5.0, 11.0, 2.3])
    apart = first - second
    ranks = np.argsort(np.argsort(np.abs(apart))) + 1
    observed = min(ranks[apart > 0].sum(), ranks[apart < 0].sum())
    sums = [sum(r for r, s in zip(ranks, signs, strict=True) if s) for signs in itertools.product((0, 1), repeat=6)]
    expected = np.mean([min(total, 21 - total) <= observed for total in sums])
    assert signed_rank_p(first, second) == pytest.approx(expected)


def test_zero_differences_are_ranked_but_not_summed() -> None:
    """Pratt: with two zeros the other ranks are 3 to 7, and their signs are tried in all ways."""
    apart = np.array([0.0, 0.0, -0.1, -0.2, 0.3, 0.4, 0.5])
    ranks = np.arange(3, 8)
    observed = min(ranks[apart[2:] > 0].sum(), ranks[apart[2:] < 0].sum())
    sums = [sum(r for r, s in zip(ranks, signs, strict=True) if s) for signs in itertools.product((0, 1), repeat=5)]
    exact = np.mean([min(total, ranks.sum() - total) <= observed for total in sums])
    assert signed_rank_p(1 + apart, np.ones(7)) == pytest.approx(exact)


def test_signed_rank_of_equal_errors_is_one_and_of_other_landmarks_an_error() -> None:
    assert signed_rank_p(np.ones(5), np.ones(5)) == 1.0
    assert signed_rank_p(np.array([1.0, 1.0, 2.0]), np.array([1.0, 1.0, 3.0])) > 0.3
    with pytest.raises(ValueError, match="no pairs"):
        signed_rank_p(np.ones(1), np.ones(5))


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
        for kind in ("rank_sum", "signed_rank"):
            found = [getattr(t, kind) for t in family]
            assert [f.p_holm for f in found] == pytest.approx(holm([f.p for f in found]))
    cases = [t.over_cases for t in tests if t.over_cases is not None]
    assert [f.p_holm for f in cases] == pytest.approx(holm([f.p for f in cases]))
    means = [np.array([errors[c][m].mean() for c in "xyz"]) for m in "ab"]
    assert cases[0].p == pytest.approx(signed_rank_p(*means))
    assert [t.over_cases is None for t in tests] == [t.case is not None for t in tests]
    pooled = [np.concatenate([errors[c][m] for c in "xy"]) for m in "ac"]
    assert tests[-1].rank_sum.p == pytest.approx(rank_sum_p(*pooled))
    assert tests[-1].signed_rank is not None
    assert tests[-1].signed_rank.p == pytest.approx(signed_rank_p(*pooled))
    assert tests[-1].second_mean_mm == pytest.approx(pooled[1].mean())
    # One case only is not pooled.
    assert [t.case for t in compare_methods({"x": errors["x"]}, [("a", "b")])] == ["x"]


def test_methods_scored_at_other_landmarks_are_not_paired() -> None:
    errors = {"x": {"a": np.arange(4.0), "b": np.arange(5.0)}, "y": {"a": np.arange(4.0), "b": np.arange(4.0)}}
    first, second, pooled = compare_methods(errors, [("a", "b")])
    assert first.signed_rank is pooled.signed_rank is None
    assert second.signed_rank is not None
    assert first.p_values()["signed_rank_p"] is None
    assert pooled.over_cases is not None  # means of cases are pairs all the same
