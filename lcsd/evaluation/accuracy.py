"""Landmark errors over a build: per case and method, per split, and between methods."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcsd.build.inventory import Case, Evaluation
from lcsd.evaluation.significance import P_COLUMNS, compare_methods
from lcsd.evaluation.statistics import CohortSummary, Interval, bootstrap_mean, figure_names, summarise_cases
from lcsd.io.tables import as_number
from lcsd.settings.compare import CompareSettings

TRE_COLUMNS = (
    *("case", "role", "status", "in_statistics", "method", "protocol", "source", "extrapolation", "snapped"),
    *("count", "circular", "seeded_landmarks"),
    *figure_names("tre", "mm"),
    *figure_names("tre_before", "mm"),
    "tre_native_mean_mm",
    *("std_log_jacobian", "folding_percent", "min_jacobian", "mean_jacobian"),
    *("jacobian_voxels", "jacobian_region", "jacobian_covered_percent"),
    *("sdlogj", "dice", "hd95_voxels"),
    "seconds",
)

SUMMARY_COLUMNS = (
    *("role", "method", "cases", "landmarks", "seeded_landmarks"),
    *("tre_case_mean_mm", "tre_case_std_mm", "tre_case_p30_mm", "tre_case_low_mm", "tre_case_high_mm"),
    *figure_names("tre", "mm"),
    "tre_before_case_mean_mm",
    *figure_names("tre_before", "mm"),
    *("std_log_jacobian", "folding_percent", "folding_max_percent", "seconds"),
)

COMPARISON_COLUMNS = ("case", "first", "second", "first_mean_mm", "second_mean_mm", *P_COLUMNS)

ALL_CASES = "all landmarks pooled"
ALL_ROLES = "all"

STATISTICS = CompareSettings()
"""The report uses the defaults of ``lcsd compare``."""

BOOTSTRAP_SEED = 0


def is_circular(evaluation: Evaluation) -> bool:
    """Return whether the registration used the landmarks that score it."""
    return evaluation.figures.get("circular") is True


def is_usable(case: Case, evaluation: Evaluation) -> bool:
    """Return whether statistics include an evaluation: complete, not circular, of a case that counts."""
    complete = evaluation.tre is not None and evaluation.before is not None
    return case.counts and complete and not is_circular(evaluation)


def tre_rows(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Return one row per case and method with all figures; an unknown figure is empty."""
    rows = []
    for case in cases:
        for evaluation in case.evaluations:
            known = {key: value for key, value in evaluation.figures.items() if value is not None}
            seconds = case.seconds(evaluation.method)
            rows.append(
                {
                    **{name: known.get(name, "") for name in TRE_COLUMNS},
                    "case": case.name,
                    "role": case.role,
                    "status": case.status,
                    "in_statistics": is_usable(case, evaluation),
                    "method": evaluation.method,
                    "seconds": "" if seconds is None else seconds,
                }
            )
    return rows


@dataclass(frozen=True)
class MethodSummary:
    """Landmark errors of one method over the cases that count."""

    method: str
    # after, before: errors with the method, and after the rigid step, mm
    after: CohortSummary
    before: CohortSummary
    interval: Interval | None  # bootstrap confidence interval of the mean of case means, mm; None for one case
    seeded: int  # number of landmarks that the method itself predicted
    # Means and maximum are over the cases that have the figure; None if no case has it
    mean_std_log_jacobian: float | None
    mean_folding_percent: float | None
    max_folding_percent: float | None  # largest share of folded voxels in one case
    mean_seconds: float | None


def method_summaries(cases: Sequence[Case]) -> list[MethodSummary]:
    """Return statistics over cases per method, in the order in which methods appear.

    They leave out cases that do not count, circular landmarks, and evaluations without a table of landmark errors.
    """
    counted: dict[str, list[tuple[Case, Evaluation]]] = {}
    for case in cases:
        for evaluation in case.evaluations:
            if is_usable(case, evaluation):
                counted.setdefault(evaluation.method, []).append((case, evaluation))
    return [_summary(method, found) for method, found in counted.items()]


def _summary(method: str, found: Sequence[tuple[Case, Evaluation]]) -> MethodSummary:
    def known(name: str) -> list[float]:
        values = (as_number(evaluation.figures.get(name)) for _, evaluation in found)
        return [value for value in values if value is not None]

    after: dict[str, NDArray[np.float64]] = {}
    before: dict[str, NDArray[np.float64]] = {}
    for case, evaluation in found:
        assert evaluation.tre is not None  # noqa: S101 - only such are counted
        assert evaluation.before is not None  # noqa: S101
        after[case.name], before[case.name] = evaluation.tre, evaluation.before
    means = np.array([after[name].mean() for name in sorted(after)])
    seconds = [s for case, _ in found if (s := case.seconds(method)) is not None]
    folding = known("folding_percent")
    return MethodSummary(
        method=method,
        after=summarise_cases(after),
        before=summarise_cases(before),
        interval=bootstrap_mean(
            means, confidence=STATISTICS.confidence, resamples=STATISTICS.resamples, seed=BOOTSTRAP_SEED
        ),
        seeded=int(sum(known("seeded_landmarks"))),
        mean_std_log_jacobian=mean_of(known("std_log_jacobian")),
        mean_folding_percent=mean_of(folding),
        max_folding_percent=max(folding, default=None),
        mean_seconds=mean_of(seconds),
    )


def mean_of(values: Sequence[float]) -> float | None:
    """Return the mean, or None if there is no value."""
    return float(np.mean(values)) if values else None


def role_summaries(cases: Sequence[Case]) -> dict[str, list[MethodSummary]]:
    """Return the statistics of each role that has scored cases, in the order in which roles appear."""
    by_role = {
        role: method_summaries([case for case in cases if case.role == role])
        for role in dict.fromkeys(case.role for case in cases)
    }
    return {role: summaries for role, summaries in by_role.items() if summaries}


def summary_rows(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Return one row per method over all cases, and per role if several roles have scores."""
    roles = role_summaries(cases)
    parts = {ALL_ROLES: method_summaries(cases), **(roles if len(roles) > 1 else {})}
    return [_summary_row(role, summary) for role, found in parts.items() for summary in found]


def _summary_row(role: str, summary: MethodSummary) -> dict[str, Any]:
    means, interval = summary.after.of_case_means, summary.interval
    row = {
        "role": role,
        "method": summary.method,
        "cases": summary.after.cases,
        "landmarks": summary.after.pooled.count,
        "seeded_landmarks": summary.seeded,
        "tre_case_mean_mm": means.mean,
        "tre_case_std_mm": means.std,
        "tre_case_p30_mm": summary.after.p30_of_case_means,
        "tre_case_low_mm": None if interval is None else interval.low,
        "tre_case_high_mm": None if interval is None else interval.high,
        **summary.after.pooled.figures("tre", "mm"),
        "tre_before_case_mean_mm": summary.before.of_case_means.mean,
        **summary.before.pooled.figures("tre_before", "mm"),
        "std_log_jacobian": summary.mean_std_log_jacobian,
        "folding_percent": summary.mean_folding_percent,
        "folding_max_percent": summary.max_folding_percent,
        "seconds": summary.mean_seconds,
    }
    return {name: "" if value is None else value for name, value in row.items()}


def comparison_rows(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Return tests between methods, per case and over all cases that count; a p-value that is unknown is empty."""
    errors: dict[str, dict[str, NDArray[np.float64]]] = {}
    for case in cases:
        scored = {e.method: e.tre for e in case.evaluations if e.tre is not None and not is_circular(e)}
        if case.counts and len(scored) > 1:
            errors[case.name] = scored
    methods = dict.fromkeys(method for scored in errors.values() for method in scored)
    return [
        {
            "case": ALL_CASES if test.case is None else test.case,
            "first": test.first,
            "second": test.second,
            "first_mean_mm": test.first_mean_mm,
            "second_mean_mm": test.second_mean_mm,
            **{name: "" if p is None else p for name, p in test.p_values().items()},
        }
        for test in compare_methods(errors, itertools.combinations(methods, 2))
    ]
