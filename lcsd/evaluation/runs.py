"""Scored methods of builds, and the cases that they have in common."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcsd.build.inventory import UNREADABLE, CaseState, Inventory, read_figures
from lcsd.build.jobs import METHODS, WITHIN, BuildFiles
from lcsd.errors import BadInputError, LcsdError, printable
from lcsd.io.points import PAIR_COLUMNS
from lcsd.io.tables import numbers, read_table
from lcsd.names import CASE_PATTERN

SAME_LANDMARK_MM = 1e-2
"""Landmark tables round to 1e-4 mm; two readings of a landmark are hardly ever closer than this."""

SAME_MEAN_MM = 1e-3
"""Tables round errors to 1e-4 mm, evaluations do not."""

ERROR_COLUMNS = ("tre_mm", "tre_before_mm")
NATIVE_COLUMN = "tre_native_mm"


@dataclass(frozen=True)
class Score:
    """Errors of one method on one case."""

    figures: Mapping[str, Any]  # from ``lcsd evaluate``
    landmarks: NDArray[np.float64]  # fixed and moving positions in common space, shape (N, 6), LPS mm
    tre: NDArray[np.float64]  # shape (N,), mm
    before: NDArray[np.float64]  # shape (N,), mm
    seconds: float | None  # wall time of the registration
    files: tuple[Path, ...]  # that were read
    memory_gib: float | None = None  # peak memory of the registration
    native: NDArray[np.float64] | None = None  # distances of the landmarks in the scans' own spaces, shape (N,), mm


@dataclass(frozen=True)
class Row:
    """One method of one build."""

    name: str  # the method; with several builds ``BUILD/METHOD``
    run: str
    method: str
    scores: Mapping[str, Score]  # by case
    missing: Mapping[str, str]  # reason of each case of the build without a score


def name_runs(arguments: Sequence[str]) -> dict[str, Path]:
    """Return the builds by name, from ``NAME=PATH`` or from a path, which is named like its folder.

    Raises ``BadInputError`` (``duplicate_name``) if two builds have the same name.
    """
    runs: dict[str, Path] = {}
    for argument in arguments:
        name, sign, path = argument.partition("=")
        # A path may contain the sign.
        given = bool(sign and name and "/" not in name and not Path(argument).exists())
        folder = Path(path) if given else Path(argument)
        name = name if given else folder.resolve().name
        if name in runs:
            raise BadInputError(
                "two builds have the same name",
                code="duplicate_name",
                field=name,
                expected="different names",
                found=f"{runs[name]} and {folder}",
                remedy=f"name them, e.g. a={runs[name]} b={folder}",
            )
        runs[name] = folder
    return runs


def read_rows(runs: Mapping[str, Path], *, methods: Sequence[str] = ()) -> list[Row]:
    """Return every scored method of every build, by name, in the order given; only ``methods`` unless empty.

    Raises ``BadInputError`` if a folder is missing or has no scored case, or no build has one of the methods.
    """
    found = [row for name, folder in runs.items() for row in _rows_of(name, folder, methods)]
    unknown = [name for name in dict.fromkeys(methods) if name not in {r.method for r in found}]
    if unknown:
        raise BadInputError(
            "no build has this method",
            code="unknown_method",
            field="--method",
            expected="scored methods",
            found=", ".join(unknown),
            remedy="leave --method out to compare and name all methods",
        )
    several = len(runs) > 1
    return [Row(f"{r.run}/{r.method}" if several else r.method, r.run, r.method, r.scores, r.missing) for r in found]


def _rows_of(run: str, folder: Path, methods: Sequence[str]) -> list[Row]:
    if not folder.is_dir():
        raise BadInputError(
            "build not found",
            code="missing_folder",
            file=folder,
            expected="a folder of results",
            remedy="give the folder that holds cases/",
        )
    names = [path.name for path in sorted(BuildFiles(folder).cases.glob("*")) if CASE_PATTERN.fullmatch(path.name)]
    scored = {name: BuildFiles(folder).case(name).evaluations() for name in names}
    known = {method for paths in scored.values() for method in paths}
    wanted = [method for method in (*METHODS, *sorted(known - {*METHODS})) if method in known]
    wanted = [method for method in wanted if not methods or method in methods]
    if not wanted:
        raise BadInputError(
            "no case of the build is scored",
            code="empty_build",
            file=folder,
            expected=str(WITHIN.case("CASE").evaluation(" or ".join(methods) or "METHOD")),
            found=f"{len(names)} case{'s' if len(names) != 1 else ''} scored by "
            f"{', '.join(sorted(known)) or 'nothing'}",
            remedy="run the build to its end, or lcsd evaluate with --out and --table",
        )
    inventory = Inventory(folder)
    states = [inventory.state(name) for name in names]
    return [_row(run, method, states, scored) for method in wanted]


def _row(run: str, method: str, states: Sequence[CaseState], scored: Mapping[str, Mapping[str, Path]]) -> Row:
    scores: dict[str, Score] = {}
    missing: dict[str, str] = {}
    for state in states:
        reason = _left_out(state)
        if reason is None and method not in scored[state.name]:
            reason = f"not scored by {method}"
        if reason is None:
            try:
                score = _read_score(state, method)
            except UNREADABLE as error:
                why = error.complaint if isinstance(error, LcsdError) else str(error)
                missing[state.name] = f"broken evaluation of {method} in {run} ({printable(why)})"
                continue
            if score.figures.get("circular") is not True:
                scores[state.name] = score
                continue
            reason = f"circular landmarks of {method}"
        missing[state.name] = f"{reason} in {run}"
    return Row(method, run, method, scores, missing)


def _left_out(state: CaseState) -> str | None:
    """Return why a scored case is left out, or None.

    Unfinished cases count: a comparison knows no manifest, and the folders of other programs' results have no
    other stage.
    """
    if state.broken:
        return f"broken {state.broken[0].file}"
    return None if state.left_out is None else state.status


def _read_score(state: CaseState, method: str) -> Score:
    path, table = state.files.evaluation(method), state.files.landmark_errors(method)
    columns = (*PAIR_COLUMNS, *ERROR_COLUMNS)
    frame = read_table(table, columns, {**dict.fromkeys(columns, "float64"), NATIVE_COLUMN: "Float64"})
    values = numbers(frame, columns)
    figures = read_figures(path)
    means = float(figures["tre_mean_mm"]), float(values[:, 6].mean())
    if abs(means[0] - means[1]) > SAME_MEAN_MM:
        raise ValueError(f"its mean is {means[0]:.4f} mm, but {table.name} gives {means[1]:.4f} mm: one is outdated")
    in_native = NATIVE_COLUMN in frame and not frame[NATIVE_COLUMN].hasnans
    native = numbers(frame, [NATIVE_COLUMN])[:, 0] if in_native else None
    return Score(
        figures=figures,
        landmarks=values[:, :6],
        tre=values[:, 6],
        before=values[:, 7],
        seconds=state.seconds(method),
        memory_gib=state.memory_gib(method),
        files=(path, table),
        native=native,
    )


def common_cases(rows: Sequence[Row]) -> tuple[list[str], dict[str, str]]:
    """Return the cases that every row has, sorted, and why the others are dropped, from the first row that lacks each.

    Raises ``BadInputError`` if the rows have no case in common, or different landmarks in a common case.
    """
    every = sorted({case for row in rows for case in (*row.scores, *row.missing)})
    common = [case for case in every if all(case in row.scores for row in rows)]
    dropped = {
        case: next(row.missing.get(case, f"no such case in {row.run}") for row in rows if case not in row.scores)
        for case in every
        if case not in common
    }
    if not common:
        raise BadInputError(
            "the methods have no case in common",
            code="no_common_cases",
            field=", ".join(row.name for row in rows),
            expected="at least one case",
            found="; ".join(reasons(dropped)) or "no case",
            remedy="leave methods out with --method, or score the same cases",
        )
    for case in common:
        # Only rows with native distances can be compared by them.
        known = [row for row in rows if row.scores[case].native is not None]
        for first, *others in (rows, known or rows):
            for row in others:
                _check_same_landmarks(case, first, row)
    return common, dropped


def unlike_starts(rows: Sequence[Row], cases: Sequence[str]) -> list[str]:
    """Return a warning for each case and row whose moving landmarks may differ.

    The errors before registration differ: either the rigid steps differ, or the landmarks of one row are in another
    frame. Native distances would decide; :func:`common_cases` compares them where both rows have them.
    """
    texts = []
    for case in cases:
        first = rows[0].scores[case]
        for row in rows[1:]:
            score = row.scores[case]
            if first.native is not None and score.native is not None:
                continue
            # If native scans were scored, the distance before registration is the native one.
            starts = [s for s in (first.before, first.native) if s is not None]
            others = [s for s in (score.before, score.native) if s is not None]
            apart = min(float(np.abs(a - b).max()) for a in starts for b in others)
            if apart > SAME_LANDMARK_MM:
                texts.append(
                    f"case {case}, {rows[0].name} and {row.name}: errors before differ by up to "
                    f"{apart:.3g} mm; their rigid steps differ, or the moving landmarks of one "
                    "are in another frame"
                )
    return texts


def reasons(dropped: Mapping[str, str]) -> list[str]:
    """Return each reason with the number of cases dropped for it, the most frequent first."""
    counts = Counter(dropped.values())
    return [f"{count} {reason}" for reason, count in sorted(counts.items(), key=lambda i: (-i[1], i[0]))]


def _check_same_landmarks(case: str, first: Row, second: Row) -> None:
    """Refuse different landmarks.

    Moving landmarks are in common space, which depends on the rigid transform of each build. So their distances from
    each other are compared and, where both rows have them, their native distances, which differ if a whole set is in
    another frame.
    """
    one, other = first.scores[case], second.scores[case]
    a, b = one.landmarks, other.landmarks
    found = None
    if len(a) != len(b):
        found = f"{len(a)} and {len(b)} landmarks"
    else:
        fixed = np.abs(a[:, :3] - b[:, :3]).max()
        moving = np.abs(_distances(a[:, 3:]) - _distances(b[:, 3:])).max()
        if max(fixed, moving) > SAME_LANDMARK_MM:
            found = f"fixed positions {fixed:.3g} mm apart, moving ones {moving:.3g} mm"
        elif one.native is not None and other.native is not None:
            native = np.abs(one.native - other.native).max()
            if native > SAME_LANDMARK_MM:
                found = f"native distances that differ by up to {native:.3g} mm"
    if found is not None:
        raise BadInputError(
            "the methods have different landmarks",
            code="different_landmarks",
            field=f"case {case}, {first.name} and {second.name}",
            expected="the same landmarks",
            found=found,
            remedy="score both with the same landmark file",
        )


def _distances(points: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial.distance import pdist

    # A single landmark has no distance to another.
    return np.concatenate([[0.0], pdist(points)])
