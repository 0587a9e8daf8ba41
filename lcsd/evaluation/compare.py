"""The comparison as tables: figures of every row, tests against a reference, Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.evaluation.accuracy import mean_of
from lcsd.evaluation.runs import Row, Score, reasons
from lcsd.evaluation.significance import P_COLUMNS, Comparison, compare_methods
from lcsd.evaluation.statistics import ROBUST_SHARE, bootstrap_mean, figure_names, summarise
from lcsd.io.tables import as_number
from lcsd.settings.compare import CompareSettings

ROW_COLUMNS = (
    *("name", "run", "method", "reference", "cases", "landmarks", "seeded_landmarks"),
    *("protocol", "source", "extrapolation", "snapped"),
    *("tre_case_mean_mm", "tre_case_std_mm", "tre_case_p30_mm", "tre_case_low_mm", "tre_case_high_mm"),
    *figure_names("tre", "mm"),
    *figure_names("tre_before", "mm"),
    *("std_log_jacobian", "folding_percent", "seconds", "peak_memory_gib"),
    *P_COLUMNS,
)

CASE_COLUMNS = (
    *("name", "case", "landmarks"),
    *figure_names("tre", "mm"),
    "tre_before_mean_mm",
    *("std_log_jacobian", "folding_percent", "seconds", "peak_memory_gib"),
    *P_COLUMNS[:4],
)

MOST_CASE_COLUMNS = 20
"""With more cases the Markdown table would be too wide; ``compare_cases.csv`` has them all."""

UNKNOWN = "\N{EN DASH}"


@dataclass(frozen=True)
class Table:
    """A comparison."""

    reference: str  # row against which the others are tested
    rows: tuple[Mapping[str, Any], ...]  # one per row, with the columns ``ROW_COLUMNS``; unknown figures are None
    cases: tuple[Mapping[str, Any], ...]  # one per row and case, with the columns ``CASE_COLUMNS``
    common: tuple[str, ...]  # compared cases
    dropped: Mapping[str, str]  # reason of each dropped case


def compare_rows(
    rows: Sequence[Row],
    common: Sequence[str],
    dropped: Mapping[str, str],
    settings: CompareSettings,
    *,
    reference: str | None = None,
    seed: int = 0,
) -> Table:
    """Return the comparison of methods over their common cases.

    ``rows``, ``common`` and ``dropped`` are from :func:`lcsd.evaluation.runs.read_rows` and ``common_cases``. The
    others are tested against the row ``reference``; None is the row with the lowest mean error over all landmarks.
    ``seed`` is that of the bootstrap, the same for every row.

    Raises ``BadInputError`` (``unknown_row``) if no row has the name of the reference.
    """
    errors = {case: {row.name: row.scores[case].tre for row in rows} for case in common}
    best = min(rows, key=lambda r: float(np.concatenate([errors[c][r.name] for c in common]).mean()))
    reference = _named(rows, reference) if reference is not None else best.name
    others = [(row.name, reference) for row in rows if row.name != reference]
    tests = {(test.first, test.case): test for test in compare_methods(errors, others)}
    return Table(
        reference=reference,
        rows=tuple(
            # The test of one case is the test of all of them.
            _figures(row, common, settings, seed)
            | {"reference": row.name == reference}
            | _p_values(tests.get((row.name, None if len(common) > 1 else common[0])), ROW_COLUMNS)
            for row in rows
        ),
        cases=tuple(
            _case_figures(row, case) | _p_values(tests.get((row.name, case)), CASE_COLUMNS)
            for row in rows
            for case in common
        ),
        common=tuple(common),
        dropped=dict(dropped),
    )


def pooled_errors(rows: Sequence[Row], common: Sequence[str], *, before: str) -> dict[str, NDArray[np.float64]]:
    """Return the errors of all landmarks of the common cases by row, mm.

    If all rows have the same errors before registration, these come first, under the name ``before``.
    """

    def pooled(row: Row, name: str) -> NDArray[np.float64]:
        return np.concatenate([getattr(row.scores[case], name) for case in common])

    starts = [pooled(row, "before") for row in rows]
    first = {before: starts[0]} if all(np.allclose(s, starts[0]) for s in starts) else {}
    return first | {row.name: pooled(row, "tre") for row in rows}


def _named(rows: Sequence[Row], wanted: str) -> str:
    """Return the name of the row that a user names, by the name itself or by a method of one build only."""
    names = [row.name for row in rows]
    if wanted in names:
        return wanted
    methods = [row.name for row in rows if row.method == wanted]
    if len(methods) == 1:
        return methods[0]
    raise BadInputError(
        "no row has this name" if not methods else "several builds have this method",
        code="unknown_row",
        field="--reference",
        expected=f"one of {', '.join(names)}",
        found=wanted,
    )


def _p_values(test: Comparison | None, columns: Sequence[str]) -> dict[str, float | None]:
    found = {} if test is None else test.p_values()
    return {name: found.get(name) for name in P_COLUMNS if name in columns}


def _figures(row: Row, common: Sequence[str], settings: CompareSettings, seed: int) -> dict[str, Any]:
    scores = [row.scores[case] for case in common]
    means = np.array([score.tre.mean() for score in scores])
    interval = bootstrap_mean(means, confidence=settings.confidence, resamples=settings.resamples, seed=seed)
    over_cases = summarise(means)
    tre = summarise(np.concatenate([score.tre for score in scores]))
    before = summarise(np.concatenate([score.before for score in scores]))
    return {
        "name": row.name,
        "run": row.run,
        "method": row.method,
        "cases": len(scores),
        "landmarks": tre.count,
        "seeded_landmarks": int(sum(_known(scores, "seeded_landmarks"))),
        **{key: _agreed(scores, key) for key in ("protocol", "source", "extrapolation", "snapped")},
        "tre_case_mean_mm": over_cases.mean,
        "tre_case_std_mm": over_cases.std,
        "tre_case_p30_mm": float(np.quantile(means, ROBUST_SHARE)),
        "tre_case_low_mm": None if interval is None else interval.low,
        "tre_case_high_mm": None if interval is None else interval.high,
        **tre.figures("tre", "mm"),
        **before.figures("tre_before", "mm"),
        "std_log_jacobian": mean_of(_known(scores, "std_log_jacobian")),
        "folding_percent": mean_of(_known(scores, "folding_percent")),
        "seconds": mean_of([s.seconds for s in scores if s.seconds is not None]),
        "peak_memory_gib": max((s.memory_gib for s in scores if s.memory_gib is not None), default=None),
    }


def _case_figures(row: Row, case: str) -> dict[str, Any]:
    score = row.scores[case]
    return {
        "name": row.name,
        "case": case,
        "landmarks": len(score.tre),
        **summarise(score.tre).figures("tre", "mm"),
        "tre_before_mean_mm": float(score.before.mean()),
        "std_log_jacobian": as_number(score.figures.get("std_log_jacobian")),
        "folding_percent": as_number(score.figures.get("folding_percent")),
        "seconds": score.seconds,
        "peak_memory_gib": score.memory_gib,
    }


def _known(scores: Sequence[Score], key: str) -> list[float]:
    values = (as_number(score.figures.get(key)) for score in scores)
    return [value for value in values if value is not None]


def _agreed(scores: Sequence[Score], key: str) -> str:
    """Return the value of a property, or all values if scores differ."""
    return " or ".join(sorted({_as_text(score.figures.get(key)) for score in scores}))


def _as_text(value: object) -> str:
    return "" if value is None else str(value)


def markdown(table: Table, settings: CompareSettings) -> str:
    """Return the comparison as Markdown, laid out as Table 3 of the LCSD500 supplement."""
    cases = list(table.common) if len(table.common) <= MOST_CASE_COLUMNS else []
    low, high = settings.confidence * 100, settings.significance
    header = ["method", *cases, "before", "avg ± std", f"{low:g} % CI", "25 %", "50 %", "75 %"]
    header += ["std(log J)", "J ≤ 0 (%)", "time (s)", "memory (GiB)", "p", "p paired", "p cases"]
    by_case = {(row["name"], row["case"]): row for row in table.cases}
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    for row in table.rows:
        cells = [_case_cell(by_case[row["name"], case], high) for case in cases]
        lines.append([_name(row), *cells, *_cells(row)])
    return "\n".join(
        [
            *("| " + " | ".join(line) + " |" for line in lines),
            "",
            *(f"{note}  " for note in _notes(table, settings)),
            "",
        ]
    )


def _name(row: Mapping[str, Any]) -> str:
    text = str(row["name"]).replace("|", "\\|")
    text = f"{text} (reference)" if row["reference"] else text
    return f"{text} †" if row["seeded_landmarks"] else text


def _case_cell(row: Mapping[str, Any], significance: float) -> str:
    p = row["rank_sum_p_holm"]
    return f"{row['tre_mean_mm']:.2f}" + ("*" if p is not None and p < significance else "")


def _cells(row: Mapping[str, Any]) -> list[str]:
    interval = (
        UNKNOWN if row["tre_case_low_mm"] is None else f"{row['tre_case_low_mm']:.2f}-{row['tre_case_high_mm']:.2f}"
    )
    return [
        _text(row["tre_before_mean_mm"]),
        f"{row['tre_mean_mm']:.2f} ± {_text(row['tre_std_mm'])}",
        interval,
        *(_text(row[f"tre_{name}_mm"]) for name in ("p25", "median", "p75")),
        _text(row["std_log_jacobian"], 3),
        _text(row["folding_percent"], 2),
        _text(row["seconds"], 2),
        _text(row["peak_memory_gib"], 2),
        *(_p_text(row[name]) for name in ("rank_sum_p_holm", "signed_rank_p_holm", "case_signed_rank_p_holm")),
    ]


def _text(value: float | None, digits: int = 2) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def _p_text(p: float | None) -> str:
    if p is None:
        return UNKNOWN
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _notes(table: Table, settings: CompareSettings) -> list[str]:
    count = len(table.common)
    first = table.rows[0]["landmarks"]
    plural = "s" if count != 1 else ""
    notes = [
        f"TRE in mm; {count} case{plural}, {first} landmarks. Over all landmarks: avg, std, percentiles.",
        "Means over cases: std(log J), J ≤ 0, time; memory: the largest peak.",
    ]
    if count == 1:
        notes.append("n = 1 case: no confidence interval, and no conclusion about other cases.")
    else:
        notes.append(
            f"CI: {settings.confidence * 100:g} % interval of the mean of case means, "
            f"{settings.resamples} bootstrap samples of the cases (BCa)."
        )
    if len(table.rows) > 1:
        notes.append(
            f"p: two-sided Wilcoxon rank-sum test over all landmarks against {table.reference}; p paired: signed-rank "
            "test over the same; p cases: signed-rank test over the means of cases. Holm's correction for the number "
            f"of rows; * in a case: corrected p of the rank-sum test < {settings.significance:g} there."
        )
    if any(row["seeded_landmarks"] for row in table.rows):
        notes.append("† this method predicted some of the landmarks, so its error is too small.")
    snapped = [row["snapped"] == str(True) for row in table.rows]
    if any(snapped) and not all(snapped):
        notes.append("Some rows were snapped to voxels and others were not, so they cannot be compared.")
    if len({row["protocol"] for row in table.rows}) > 1:
        notes.append("The rows were scored by different protocols, so they cannot be compared.")
    if table.dropped:
        text = "; ".join(reasons(table.dropped))
        notes.append(f"{len(table.dropped)} of {count + len(table.dropped)} cases dropped: {text}.")
    return notes
