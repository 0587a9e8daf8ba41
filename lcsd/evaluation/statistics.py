"""Statistics of errors: within a case, pooled over landmarks, and over cases."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError

PERCENTILES = (25, 50, 75, 95)


@dataclass(frozen=True)
class Summary:
    """Location and spread of a set of values, in the unit of the values.

    ``std`` is the sample standard deviation (divisor n - 1) and None for one value. Percentiles
    are interpolated linearly between order statistics.
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
        names = ("mean", "std", "median", "p25", "p75", "p95", "max")
        return {f"{prefix}_{name}_{unit}": getattr(self, name) for name in names}


@dataclass(frozen=True)
class CohortSummary:
    """Statistics over the cases of a build.

    ``of_case_means`` counts every case once, whatever its number of landmarks; ``pooled`` counts
    every landmark once. They differ when cases have different numbers of landmarks.
    """

    cases: int
    of_case_means: Summary
    pooled: Summary


def summarise(values: NDArray[np.float64]) -> Summary:
    """Return location and spread of values.

    Parameters
    ----------
    values
        Shape (N,), finite, N >= 1.

    Raises
    ------
    BadInputError
        If there is no value, or one is not finite.
    """
    values = np.asarray(values, dtype=np.float64).ravel()
    if not len(values) or not np.isfinite(values).all():
        raise BadInputError(
            "statistics need finite values", code="bad_values", expected="at least one number",
            found=f"{len(values)} values, {int((~np.isfinite(values)).sum())} of them not finite",
        )  # fmt: skip
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
    """Return statistics over cases.

    Parameters
    ----------
    values
        Case to its values (one per landmark), shape (N,) each.

    Raises
    ------
    BadInputError
        If there is no case, or a case has no finite value.
    """
    means = np.array([summarise(values[case]).mean for case in sorted(values)])
    of_means = summarise(means)
    pooled = summarise(np.concatenate([values[case] for case in sorted(values)]))
    return CohortSummary(cases=len(means), of_case_means=of_means, pooled=pooled)


def rank_sum_p(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of the Wilcoxon rank-sum test, no unit.

    Parameters
    ----------
    first, second
        Errors of two methods, shape (N,) and (M,), any common unit; not paired.

    Notes
    -----
    Normal approximation with the variance corrected for ties (as Mann and Whitney's U), so equal
    samples give 1. The test of the supplement's Table 3 (Heinrich et al., ICCV 2023).
    """
    from scipy.stats import mannwhitneyu  # noqa: PLC0415

    found = mannwhitneyu(first, second, method="asymptotic", use_continuity=False)
    # Samples of one value only have no variance to test against: they do not differ.
    return 1.0 if np.isnan(found.pvalue) else float(found.pvalue)


def cumulative(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the empirical cumulative distribution of values.

    Returns
    -------
    tuple
        Sorted values and, for each, the percentage of values that are at most as large.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64).ravel())
    share = np.searchsorted(ordered, ordered, side="right") / max(len(ordered), 1) * 100.0
    return ordered, share
