"""Which of several methods is more accurate: Wilcoxon's tests, corrected for their number."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcsd.evaluation.statistics import holm, rank_sum_p, signed_rank_p

Errors = NDArray[np.float64]

P_COLUMNS = (
    *("rank_sum_p", "rank_sum_p_holm", "signed_rank_p", "signed_rank_p_holm"),
    *("case_signed_rank_p", "case_signed_rank_p_holm"),
)


@dataclass(frozen=True)
class PValue:
    """The p-value of a two-sided test, plain and corrected for the number of tests in its family."""

    p: float
    p_holm: float


@dataclass(frozen=True)
class Comparison:
    """Tests between two methods."""

    case: str | None  # whose landmarks are compared; None for the pooled landmarks of all cases
    first: str
    second: str
    first_mean_mm: float
    second_mean_mm: float
    rank_sum: PValue  # over landmarks, not paired
    signed_rank: PValue | None  # over landmarks, paired; None if the methods were scored at different ones
    over_cases: PValue | None = None  # paired, over the mean errors of cases; None for a single case

    def p_values(self) -> dict[str, float | None]:
        """Return the p-values with the keys ``P_COLUMNS``; None where a test does not apply."""
        tests = (self.rank_sum, self.signed_rank, self.over_cases)
        values = [value for test in tests for value in ((None, None) if test is None else (test.p, test.p_holm))]
        return dict(zip(P_COLUMNS, values, strict=True))


@dataclass(frozen=True)
class _Sample:
    """Errors of two methods, and their means by case if these are pooled."""

    case: str | None
    first: str
    second: str
    errors: tuple[Errors, Errors]
    means: tuple[Errors, Errors] | None = None
    paired: bool = True


def compare_methods(errors: Mapping[str, Mapping[str, Errors]], pairs: Iterable[tuple[str, str]]) -> list[Comparison]:
    """Return the tests between pairs of methods, per case and over all cases.

    ``errors`` has the errors at the landmarks by case and method, mm, shape (N,) each; a pair uses the cases that both
    methods have. For each pair there are the cases in the given order, then all cases together if there are several:
    their pooled landmarks, and their means.

    Holm's correction treats each kind of test apart: single cases, pooled landmarks, and means of cases.
    """
    samples: list[_Sample] = []
    for first, second in pairs:
        both = {
            case: (methods[first], methods[second])
            for case, methods in errors.items()
            if first in methods and second in methods
        }
        alone = [_Sample(case, first, second, part, None, len(part[0]) == len(part[1])) for case, part in both.items()]
        samples += alone
        if len(both) > 1:
            pooled = [np.concatenate(part) for part in zip(*both.values(), strict=True)]
            means = [np.array([each.mean() for each in part]) for part in zip(*both.values(), strict=True)]
            paired = all(sample.paired for sample in alone)
            samples.append(_Sample(None, first, second, (pooled[0], pooled[1]), (means[0], means[1]), paired))
    single = [i for i, sample in enumerate(samples) if sample.case is not None]
    all_cases = [i for i, sample in enumerate(samples) if sample.case is None]
    rank_sum: dict[int, PValue] = {}
    signed: dict[int, PValue] = {}
    over_cases = _family(signed_rank_p, {i: samples[i].means for i in all_cases})
    for family in (single, all_cases):
        rank_sum |= _family(rank_sum_p, {i: samples[i].errors for i in family})
        signed |= _family(signed_rank_p, {i: samples[i].errors for i in family if samples[i].paired})
    return [
        Comparison(
            sample.case,
            sample.first,
            sample.second,
            float(sample.errors[0].mean()),
            float(sample.errors[1].mean()),
            rank_sum[i],
            signed.get(i),
            over_cases.get(i),
        )
        for i, sample in enumerate(samples)
    ]


def _family(
    test: Callable[[Errors, Errors], float], samples: Mapping[int, Sequence[Errors] | None]
) -> dict[int, PValue]:
    """Return one kind of test for each sample, corrected for their number."""
    p_values = {i: test(sample[0], sample[1]) for i, sample in samples.items() if sample is not None}
    return {
        i: PValue(p, corrected) for (i, p), corrected in zip(p_values.items(), holm([*p_values.values()]), strict=True)
    }
