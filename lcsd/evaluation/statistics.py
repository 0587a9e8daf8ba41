"""Statistics of errors: within a case, pooled over landmarks, and over cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError

PERCENTILES = (25, 50, 75, 95)

FIGURES = ("mean", "std", "median", "p25", "p75", "p95", "max")

ROBUST_SHARE = 0.3
"""Quantile of case means that the Learn2Reg challenge reports beside their mean."""

RESAMPLES_AT_ONCE = 1000
"""Bootstrap samples drawn at once: their indices need less than 10 MB for a thousand cases."""


@dataclass(frozen=True)
class Summary:
    """Location and spread of a set of values, in the unit of the values.

    ``std`` is the sample standard deviation (divisor n - 1) and None for one value. Percentiles are interpolated
    linearly between order statistics.
    """

    count: int
    mean: float
    std: float | None
    median: float
    p25: float
    p75: float
    p95: float
    max: float

    def figures(self, prefix: str, unit: str) -> dict[str, float | None]:
        """Return all but the count as ``<prefix>_<name>_<unit>``, JSON-serialisable."""
        return {key: getattr(self, name) for key, name in zip(figure_names(prefix, unit), FIGURES, strict=True)}


def figure_names(prefix: str, unit: str) -> tuple[str, ...]:
    """Return the keys of :meth:`Summary.figures`."""
    return tuple(f"{prefix}_{name}_{unit}" for name in FIGURES)


@dataclass(frozen=True)
class CohortSummary:
    """Statistics over the cases of a build.

    ``of_case_means`` counts each case once, ``pooled`` each landmark once. They differ if cases have different numbers
    of landmarks.
    """

    cases: int
    of_case_means: Summary
    p30_of_case_means: float  # 30 % quantile: TRE30 of the Learn2Reg challenge
    pooled: Summary


def summarise(values: NDArray[np.float64]) -> Summary:
    """Return location and spread of values, shape (N,).

    Raises ``BadInputError`` if there is no value, or one is not finite.
    """
    values = np.asarray(values, dtype=np.float64).ravel()
    if not len(values) or not np.isfinite(values).all():
        raise BadInputError(
            "statistics need finite values",
            code="bad_values",
            expected="at least one number",
            found=f"{len(values)} values, {int((~np.isfinite(values)).sum())} of them not finite",
        )
    p25, median, p75, p95 = (float(value) for value in np.percentile(values, PERCENTILES))
    return Summary(
        count=len(values),
        mean=float(values.mean()),
        std=float(values.std(ddof=1)) if len(values) > 1 else None,
        median=median,
        p25=p25,
        p75=p75,
        p95=p95,
        max=float(values.max()),
    )


def summarise_cases(values: Mapping[str, NDArray[np.float64]]) -> CohortSummary:
    """Return statistics over cases; ``values`` has those of each case, one per landmark, shape (N,).

    Raises ``BadInputError`` if there is no case, or a case has no finite value.
    """
    means = np.array([summarise(values[case]).mean for case in sorted(values)])
    of_means = summarise(means)
    pooled = summarise(np.concatenate([values[case] for case in sorted(values)]))
    return CohortSummary(
        cases=len(means),
        of_case_means=of_means,
        p30_of_case_means=float(np.quantile(means, ROBUST_SHARE)),
        pooled=pooled,
    )


def rank_sum_p(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of the Wilcoxon rank-sum test of the errors of two methods, not paired.

    Normal approximation with the variance corrected for ties (as Mann and Whitney's U), so equal samples give 1. The
    test of the supplement's Table 3 (Heinrich et al., ICCV 2023).
    """
    from scipy.stats import mannwhitneyu

    found = mannwhitneyu(first, second, method="asymptotic", use_continuity=False)
    # NaN: all values are equal, so the variance is 0 and the samples do not differ.
    return 1.0 if np.isnan(found.pvalue) else float(found.pvalue)


def signed_rank_p(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of the Wilcoxon signed-rank test of paired errors, both of shape (N,).

    Differences of 0 take part in the ranking, but not in the sums (Pratt, Journal of the American Statistical
    Association 54 (1959) 655). Exact up to 50 pairs without ties or zeros, else by the normal approximation. Equal
    samples give 1. Raises ``ValueError`` if the shapes differ.
    """
    from scipy.stats import wilcoxon

    if np.shape(first) != np.shape(second):
        raise ValueError(f"{np.shape(first)} and {np.shape(second)} are no pairs")
    if np.array_equal(first, second):
        return 1.0
    return float(wilcoxon(first, second, zero_method="pratt", method="auto").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values of one family of tests corrected for their number, in the order given.

    The step-down procedure of Holm, Scandinavian Journal of Statistics 6 (1979) 65: of m tests the k-th smallest p (k
    from 1) is multiplied by m - k + 1, raised to the corrected p before it, and limited to 1. The chance of any false
    positive in the family stays below the level to which corrected values are compared, even if the tests depend on
    each other.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


@dataclass(frozen=True)
class Interval:
    """A confidence interval, in the unit of the values."""

    low: float
    high: float


def bootstrap_mean(values: NDArray[np.float64], *, confidence: float, resamples: int, seed: int) -> Interval | None:
    """Return a confidence interval of the mean over cases; None for one case.

    ``values`` are one figure per case, shape (N,), in a fixed order: equal calls give equal bits. ``confidence`` is
    between 0 and 1; each of the ``resamples`` has N cases, drawn with replacement.

    Bias-corrected and accelerated bootstrap (BCa): Efron, Journal of the American Statistical Association 82 (1987)
    171. With fewer than about ten cases it is too narrow all the same.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return None
    if np.ptp(values) == 0:  # every sample has the same mean, and BCa divides by their spread
        return Interval(float(values[0]), float(values[0]))
    from scipy.stats import bootstrap

    found = bootstrap(
        (values,),
        np.mean,
        confidence_level=confidence,
        n_resamples=resamples,
        batch=RESAMPLES_AT_ONCE,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


def cumulative(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sorted values and, for each, the percentage of values that are at most as large."""
    ordered = np.sort(np.asarray(values, dtype=np.float64).ravel())
    share = np.searchsorted(ordered, ordered, side="right") / max(len(ordered), 1) * 100.0
    return ordered, share
