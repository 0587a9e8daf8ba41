"""Which of several methods is more accurate: rank-sum tests, corrected for their number."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcsd.evaluation.statistics import holm, rank_sum_p

Errors = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """A rank-sum test between two methods."""

    case: str | None  # whose landmarks are compared; None for the pooled landmarks of all cases
    first: str
    second: str
    first_mean_mm: float
    second_mean_mm: float
    p: float  # two-sided p-value of the Wilcoxon rank-sum test
    p_holm: float  # ``p`` corrected for the number of tests in its family (see :func:`compare_methods`)


def compare_methods(errors: Mapping[str, Mapping[str, Errors]], pairs: Iterable[tuple[str, str]]) -> list[Comparison]:
    """Return the tests between pairs of methods, per case and over all landmarks.

    ``errors`` has the errors at the landmarks by case and method, mm, shape (N,) each; a pair uses the cases that both
    methods have. For each pair there are the cases in the given order, then the pooled landmarks if there are several
    cases.

    Holm's correction treats two families apart: the tests of single cases and the tests of pooled landmarks.
    """
    samples: list[tuple[str | None, str, str, Errors, Errors]] = []
    for first, second in pairs:
        both = {
            case: (methods[first], methods[second])
            for case, methods in errors.items()
            if first in methods and second in methods
        }
        samples += [(case, first, second, a, b) for case, (a, b) in both.items()]
        if len(both) > 1:
            pooled = [np.concatenate(part) for part in zip(*both.values(), strict=True)]
            samples.append((None, first, second, pooled[0], pooled[1]))
    p_values = [rank_sum_p(a, b) for *_, a, b in samples]
    corrected = dict.fromkeys(range(len(samples)), 1.0)
    for is_pooled in (False, True):
        family = [i for i, sample in enumerate(samples) if (sample[0] is None) == is_pooled]
        corrected.update(zip(family, holm([p_values[i] for i in family]), strict=True))
    return [
        Comparison(case, first, second, float(a.mean()), float(b.mean()), p_values[i], corrected[i])
        for i, (case, first, second, a, b) in enumerate(samples)
    ]
